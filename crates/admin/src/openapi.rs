//! `/api/openapi.json`: the API described for machines.
//!
//! Kept by hand in `openapi.json`, so that it reads like the contract it is; tests hold it to the
//! paths and to the answers.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

use crate::context::Context;

/// The description; `{version}` stands for the version.
const DESCRIPTION: &str = include_str!("openapi.json");

pub(crate) async fn describe(State(context): State<Context>) -> Response {
    let text = DESCRIPTION.replacen("{version}", context.ports.version, 1);
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::DESCRIPTION;

    #[test]
    fn the_description_has_exactly_the_paths_and_methods_that_are_served() {
        let description: serde_json::Value = serde_json::from_str(DESCRIPTION).unwrap();
        let described: BTreeSet<_> = description["paths"]
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().unwrap().keys();
                methods.map(move |method| (path.clone(), method.to_uppercase()))
            })
            .collect();
        let served: BTreeSet<_> = crate::api::endpoints()
            .iter()
            .map(|endpoint| (endpoint.path.to_owned(), endpoint.method.to_string()))
            .collect();
        assert_eq!(described, served);
    }
}
