//! What the backends of AWS share: keys the AWS way, the SDK's requests over the one HTTP client, endpoints and
//! regions, and what AWS means by its codes.
//!
//! Other servers that speak the same protocols are spoken to in the same way, at an endpoint of their own.

pub(crate) mod access;
pub(crate) mod endpoint;
pub(crate) mod error;
mod http;
pub(crate) mod keys;
