//! The API description (OpenAPI 3.1), written from the list of endpoints, so that it cannot forget one.

use serde_json::{Map, Value, json};

use super::endpoint::{Access, BodyShape, Endpoint};
use super::router::Family;

/// The description of `endpoints`.
pub fn document(endpoints: &[Endpoint]) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    // Pages are for people: programs have the same below /hallmark/v1.
    for endpoint in endpoints
        .iter()
        .filter(|endpoint| Family::of(endpoint.path) != Family::Web)
    {
        let methods = paths
            .entry(endpoint.path.replace("...}", "}"))
            .or_insert_with(|| json!({}));
        if let Value::Object(methods) = methods {
            methods.insert(endpoint.method.to_ascii_lowercase(), operation(endpoint));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hallmark",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Brand store and serial vault for snap devices. Vault paths (/v1/...) also answer below \
                            /{brand}/v1/...; publisher paths below /publishergw; every path answers with and without a final slash; GET answers HEAD.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "An API token, hmk_..."},
                "deviceSession": {
                    "type": "apiKey", "in": "header", "name": "Snap-Device-Authorization",
                    "description": "Macaroon root=\"...\"; also taken from X-Device-Authorization",
                },
            },
            "schemas": {
                "VaultError": object(&["success", "error_code", "error_subcode", "message", "StatusCode"]),
                "PublisherErrorList": {
                    "type": "object",
                    "properties": {
                        "error-list": {"type": "array", "items": object(&["code", "message", "extra"])},
                        "error_list": {"type": "array", "items": object(&["code", "message", "extra"])},
                    },
                },
                "FactoryError": object(&["message", "errors"]),
                "ErrorList": {
                    "type": "object",
                    "properties": {"error-list": {"type": "array", "items": object(&["code", "message"])}},
                },
            },
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let family = Family::of(endpoint.path);
    let (tag, error) = match family {
        Family::Vault => ("vault", "VaultError"),
        Family::Device => ("device", "ErrorList"),
        Family::Publisher => ("publisher", "PublisherErrorList"),
        Family::Factory => ("factory", "FactoryError"),
        Family::Native if endpoint.path.starts_with("/hallmark/") => ("native", "ErrorList"),
        Family::Native | Family::Web => ("operations", "ErrorList"),
    };
    let mut operation = json!({
        "summary": endpoint.summary,
        "tags": [tag],
        "responses": {
            "2XX": {"description": "Done"},
            "default": {
                "description": "Refused or failed",
                "content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{error}")}}},
            },
        },
    });
    let Value::Object(fields) = &mut operation else {
        return operation;
    };
    let in_query = endpoint
        .query
        .iter()
        .map(|name| json!({"name": name, "in": "query", "schema": {"type": "string"}}));
    let parameters: Vec<Value> = variables(endpoint.path).map(parameter).chain(in_query).collect();
    if !parameters.is_empty() {
        fields.insert("parameters".to_owned(), parameters.into());
    }
    if let Some(BodyShape { media, fields: names }) = endpoint.body {
        let schema = if names.is_empty() {
            json!({"type": "string"})
        } else {
            object(names)
        };
        let content = Map::from_iter([(media.to_owned(), json!({"schema": schema}))]);
        fields.insert("requestBody".to_owned(), json!({"content": content}));
    }
    match endpoint.access {
        Access::Open => {}
        Access::Device => {
            fields.insert("security".to_owned(), json!([{"deviceSession": []}]));
        }
        Access::Needs(permission) => {
            fields.insert("security".to_owned(), json!([{"token": []}]));
            fields.insert("x-permission".to_owned(), permission.name().into());
        }
    }
    operation
}

/// The variables of a path, as written between the braces.
fn variables(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn parameter(variable: &str) -> Value {
    match variable.strip_suffix("...") {
        None => json!({"name": variable, "in": "path", "required": true, "schema": {"type": "string"}}),
        Some(name) => json!({
            "name": name, "in": "path", "required": true, "schema": {"type": "string"},
            "description": "One or more path segments",
        }),
    }
}

fn object(fields: &[&str]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|name| ((*name).to_owned(), json!({})))
        .collect();
    json!({"type": "object", "properties": properties})
}

#[cfg(test)]
mod tests {
    use warp::Filter as _;

    use super::*;
    use crate::domain::access::Permission;

    #[test]
    fn every_endpoint_is_described() {
        let filter = || warp::any().map(super::super::reply::no_content).boxed();
        let endpoints = [
            Endpoint::get("/v2/assertions/{type}/{key...}", Access::Open, "Serve", filter()),
            Endpoint::post(
                "/hallmark/v1/a",
                Access::Needs(Permission::AuditRead),
                "Make",
                filter(),
            )
            .with_query(vec!["brand"])
            .with_body(Some(BodyShape {
                media: "application/json",
                fields: &["name"],
            })),
            Endpoint::get("/hallmark/v1/a", Access::Open, "List", filter()),
        ];
        let document = document(&endpoints);
        assert_eq!(
            document["paths"]["/v2/assertions/{type}/{key}"]["get"]["parameters"][1]["name"],
            "key"
        );
        assert_eq!(
            document["paths"]["/hallmark/v1/a"]["post"]["x-permission"],
            "audit-read"
        );
        assert_eq!(document["paths"]["/hallmark/v1/a"]["get"]["summary"], "List");
        let made = &document["paths"]["/hallmark/v1/a"]["post"];
        assert_eq!(made["parameters"][0]["name"], "brand");
        let body = &made["requestBody"]["content"]["application/json"]["schema"];
        assert!(body["properties"]["name"].is_object(), "{body}");
    }
}
