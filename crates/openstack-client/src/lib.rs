//! Calls to OpenStack services: tokens, the catalogue, requests and their faults.
//!
//! A [`Client`] works over TCP or, when all services live in one process, straight
//! into their routers ([`Transport`]); callers cannot tell the difference. It does not
//! know what callers do with the answers, and holds no policy about which service
//! may call which.
//!
//! Paths are relative to the service's URL in the catalogue:
//!
//! | service type    | catalogue URL                          | path, for example      |
//! |-----------------|----------------------------------------|------------------------|
//! | `identity`      | `http://HOST:5000/v3`                  | `/users`               |
//! | `image`         | `http://HOST:9292`                     | `/v2/images`           |
//! | `placement`     | `http://HOST:8778`                     | `/resource_providers`  |
//! | `compute`       | `http://HOST:8774/v2.1`                | `/servers`             |
//! | `network`       | `http://HOST:9696`                     | `/v2.0/networks`       |
//! | `orchestration` | `http://HOST:8004/v1/%(project_id)s`   | `/stacks`              |

mod client;
mod credentials;
mod error;
mod request;
mod transport;

pub use client::{Client, ClientOptions};
pub use credentials::{Credentials, Scope};
pub use error::ClientError;
pub use request::{ByteStream, RequestBody, RequestBuilder, Response};
pub use transport::{InProcess, Transport};
