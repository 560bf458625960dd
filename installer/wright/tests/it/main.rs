//! Tests of the binary as users meet it.
