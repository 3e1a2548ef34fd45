//! For tests: an API server in memory, as far as a driver needs one. Selectors are passed over, and nothing can be watched.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{Method, Response, StatusCode};
use kube::{Client, Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Largest object that it takes.
const LIMIT: usize = 4 << 20;

/// Objects by their path.
#[derive(Clone, Default)]
pub struct ApiServer {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
}

fn path<K: Resource<DynamicType = ()>>(namespace: &str) -> String {
    K::url_path(&(), Some(namespace))
}

/// Writes what a patch names into an object.
fn merge(object: &mut Value, patch: Value) {
    match (object, patch) {
        (Value::Object(object), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (object, patch) => *object = patch,
    }
}

/// Whether an object is one of a collection: of a namespace, or of all.
fn is_in(collection: &str, object: &str) -> bool {
    let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (collection, mut object) = (parts(collection), parts(object));
    object.pop();
    if let Some(place) = object.iter().position(|part| part == "namespaces").filter(|_| collection.len() < object.len())
    {
        object.drain(place..place + 2);
    }
    collection == object
}

impl ApiServer {
    pub fn client(&self) -> Client {
        let this = self.clone();
        let service = Router::new().fallback(move |request: Request| {
            let this = this.clone();
            async move { this.answer(request).await }
        });
        Client::new(service, "default")
    }

    /// Puts an object where it belongs, in the place of the one that was there.
    pub fn put<K: Resource<DynamicType = ()> + Serialize>(&self, object: &K) {
        let path = format!("{}/{}", path::<K>(&object.namespace().unwrap()), object.name_any());
        self.objects.lock().unwrap().insert(path, serde_json::to_value(object).unwrap());
    }

    /// The objects of a kind in a namespace.
    pub fn all<K: Resource<DynamicType = ()> + DeserializeOwned>(&self, namespace: &str) -> Vec<K> {
        let collection = path::<K>(namespace);
        let objects = self.objects.lock().unwrap();
        let found = objects.iter().filter(|(path, _)| is_in(&collection, path));
        found.map(|(_, object)| serde_json::from_value(object.clone()).unwrap()).collect()
    }

    async fn answer(&self, request: Request) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = to_bytes(body, LIMIT).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (code, answer) = self.handle(&parts.method, parts.uri.path(), body);
        Response::builder().status(code).body(Body::from(answer.to_string())).unwrap()
    }

    fn handle(&self, method: &Method, path: &str, body: Value) -> (StatusCode, Value) {
        let mut objects = self.objects.lock().unwrap();
        let path = path.strip_suffix("/status").unwrap_or(path);
        if *method == Method::POST {
            let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default());
            objects.insert(path, body.clone());
            return (StatusCode::CREATED, body);
        }
        if *method == Method::DELETE
            && objects
                .get(path)
                .is_some_and(|object| object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty))
        {
            return (StatusCode::OK, objects.remove(path).unwrap_or_default());
        }
        if let Some(object) = objects.get_mut(path) {
            if *method == Method::DELETE {
                object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
            if *method == Method::PATCH {
                merge(object, body);
            }
            return (StatusCode::OK, object.clone());
        }
        // The name of an object follows its kind: a collection's path is one part shorter.
        if *method == Method::GET && path.split('/').count() % 2 == 1 {
            let items: Vec<&Value> =
                objects.iter().filter(|(object, _)| is_in(path, object)).map(|(_, value)| value).collect();
            return (StatusCode::OK, json!({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items}));
        }
        let answer = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404, "reason": "NotFound",
            "message": format!("there is no {path}"),
        });
        (StatusCode::NOT_FOUND, answer)
    }
}
