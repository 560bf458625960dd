//! Edits of text, as functions from text to text: no files, no context.
pub mod asn1_time;
pub mod block;
pub mod crontab;
pub mod dpkg;
pub mod git;
pub mod glob;
pub mod ini;
pub mod lines;
pub mod lvm;
pub mod openpgp;
pub mod openssl_conf;
pub mod openssl_text;
pub mod scram;
pub mod sources;
pub mod ssh;
pub mod time;
pub mod xml_rows;
