//! The Kubernetes objects that controllers keep in an organization's namespace.

use std::fmt;

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{Resource, ResourceExt as _};

use super::apply::{self, Namespaced};
use super::context::Context;
use super::failure::Failure;

macro_rules! children {
    ($($(#[$meta:meta])* $kind:ident,)*) => {
        /// One object, wanted or live. Secrets are none of them: they are created once and never applied.
        #[derive(Clone, PartialEq)]
        pub enum Child {
            $($(#[$meta])* $kind(Box<$kind>),)*
        }

        $(impl From<$kind> for Child {
            fn from(object: $kind) -> Self {
                Self::$kind(Box::new(object))
            }
        })*

        impl Child {
            /// Whether `live` holds this object just as wanted.
            pub fn is_current(&self, live: &[Self]) -> bool {
                live.iter().any(|live| match (self, live) {
                    $((Self::$kind(wanted), Self::$kind(live)) => {
                        wanted.metadata.name == live.metadata.name && apply::is_current(&**wanted, &**live)
                    })*
                    _ => false,
                })
            }

            /// Brings the live object to this.
            pub async fn apply(&self, ctx: &Context) -> Result<(), Failure> {
                match self {
                    $(Self::$kind(object) => apply::apply(ctx, &**object).await,)*
                }
                .map(drop)
            }
        }

        /// Kind and name only: an action is logged, and the log needs no more.
        impl fmt::Debug for Child {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$kind(object) => {
                        let namespace = object.namespace().unwrap_or_default();
                        write!(f, "{} {namespace}/{}", $kind::kind(&()), object.name_any())
                    })*
                }
            }
        }
    };
}

children! {
    /// Configuration files, and public material.
    ConfigMap,
    /// Addresses.
    Service,
    /// A node.
    StatefulSet,
    /// A contract's program.
    Deployment,
    /// What administrators may do.
    Role,
    /// Who may do it.
    RoleBinding,
    /// What an organization may use.
    ResourceQuota,
    /// How many nodes a drain may take at a time.
    PodDisruptionBudget,
}

/// Reads an object, if it is there.
pub async fn read<K>(ctx: &Context, namespace: &str, name: &str) -> Result<Option<Child>, Failure>
where
    K: Namespaced,
    Child: From<K>,
{
    Ok(apply::own::<K>(ctx, namespace, name).await?.map(Child::from))
}

/// Those of `wanted` that are not so yet.
pub fn pending(wanted: Vec<Child>, live: &[Child]) -> Vec<Child> {
    wanted.into_iter().filter(|child| !child.is_current(live)).collect()
}
