//! The kinds of group `tenter.dev` as the Kubernetes client knows them.
//!
//! Spec and status are plain data of `tenter_consortium`; here each pair gets its place in the API.

mod crd;
#[cfg(test)]
mod reference_tests;
mod schema;

use std::fmt::Debug;

use kube::core::NamespaceResourceScope;
use kube::core::object::{HasSpec, HasStatus};
use kube::{Resource, ResourceExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tenter_consortium::objects::{
    CertificateAuthoritySpec, ChaincodeSpec, ChannelSpec, ConsortiumSpec, IdentitySpec, LABEL_CONSORTIUM,
    LABEL_ORGANIZATION, MembershipSpec, NodeSpec, OrganizationSpec, ProposalSpec, VoteSpec,
};
use tenter_consortium::status::{
    CertificateAuthorityStatus, ChaincodeStatus, ChannelStatus, ConsortiumStatus, IdentityStatus, MembershipStatus,
    NodeStatus, ObjectStatus, OrganizationStatus, ProposalStatus, VoteStatus,
};

pub use self::crd::{API_VERSION, CrdError, crds, to_yaml};

/// An object of group `tenter.dev`.
pub trait TenterObject:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasSpec<Spec: Clone + Send + Sync>
    + HasStatus<Status: ObjectStatus + Clone + Default + Debug + PartialEq + Serialize + Send + Sync>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// The kind's name in manifests.
    const KIND: &'static str;

    /// The name of the Consortium object that it belongs to.
    fn consortium(&self) -> Option<&str> {
        self.labels().get(LABEL_CONSORTIUM).map(String::as_str)
    }

    /// The name of the organization that it belongs to.
    fn organization(&self) -> Option<&str> {
        self.labels().get(LABEL_ORGANIZATION).map(String::as_str)
    }

    /// Its namespace, its kind and its name, for people.
    fn describe(&self) -> String {
        format!("{} {}/{}", Self::KIND, self.namespace().unwrap_or_default(), self.name_any())
    }
}

/// Gives a spec and a status their kind: the object's type, its serde form and its `kube` identity. What plans write is
/// labelled with where it belongs; what people write says it in its spec (`by spec`).
macro_rules! resource {
    ($(#[$meta:meta])* $name:ident, $plural:literal, $spec:ty, $status:ty) => {
        resource! { @kind $(#[$meta])* $name, $plural, $spec, $status }

        impl TenterObject for $name {
            const KIND: &'static str = stringify!($name);
        }
    };
    ($(#[$meta:meta])* $name:ident, $plural:literal, $spec:ty, $status:ty, by spec) => {
        resource! { @kind $(#[$meta])* $name, $plural, $spec, $status }

        impl TenterObject for $name {
            const KIND: &'static str = stringify!($name);

            fn consortium(&self) -> Option<&str> {
                Some(&self.spec.consortium)
            }

            fn organization(&self) -> Option<&str> {
                Some(&self.spec.organization)
            }
        }
    };
    (@kind $(#[$meta:meta])* $name:ident, $plural:literal, $spec:ty, $status:ty) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
        pub struct $name {
            /// Name, namespace, labels and so on.
            #[serde(default)]
            pub metadata: kube::core::ObjectMeta,
            /// What is wanted.
            pub spec: $spec,
            /// What is known.
            #[serde(default)]
            pub status: Option<$status>,
        }

        impl $name {
            /// A new object, without a namespace and without a status.
            pub fn new(name: &str, spec: $spec) -> Self {
                let metadata = kube::core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() };
                Self { metadata, spec, status: None }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                let mut object = serializer.serialize_struct(stringify!($name), 5)?;
                object.serialize_field("apiVersion", crd::API_VERSION)?;
                object.serialize_field("kind", stringify!($name))?;
                object.serialize_field("metadata", &self.metadata)?;
                object.serialize_field("spec", &self.spec)?;
                match &self.status {
                    Some(status) => object.serialize_field("status", status)?,
                    None => object.skip_field("status")?,
                }
                object.end()
            }
        }

        impl kube::Resource for $name {
            type DynamicType = ();
            type Scope = NamespaceResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                stringify!($name).into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                tenter_consortium::objects::GROUP.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                tenter_consortium::objects::VERSION.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &kube::core::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut kube::core::ObjectMeta {
                &mut self.metadata
            }
        }

        impl HasSpec for $name {
            type Spec = $spec;

            fn spec(&self) -> &$spec {
                &self.spec
            }

            fn spec_mut(&mut self) -> &mut $spec {
                &mut self.spec
            }
        }

        impl HasStatus for $name {
            type Status = $status;

            fn status(&self) -> Option<&$status> {
                self.status.as_ref()
            }

            fn status_mut(&mut self) -> &mut Option<$status> {
                &mut self.status
            }
        }
    };
}

resource! {
    /// A consortium: where its definition comes from, and what this daemon may do.
    Consortium, "consortia", ConsortiumSpec, ConsortiumStatus
}
resource! {
    /// One organization of a consortium, in the consortium's namespace.
    Organization, "organizations", OrganizationSpec, OrganizationStatus
}
resource! {
    /// An organization's certificate authority, in its namespace.
    CertificateAuthority, "certificateauthorities", CertificateAuthoritySpec, CertificateAuthorityStatus
}
resource! {
    /// The enrolment of a person or an application, in its organization's namespace.
    Identity, "identities", IdentitySpec, IdentityStatus, by spec
}
resource! {
    /// An ordering service node.
    Orderer, "orderers", NodeSpec, NodeStatus
}
resource! {
    /// A peer.
    Peer, "peers", NodeSpec, NodeStatus
}
resource! {
    /// A channel, in the consortium's namespace.
    Channel, "channels", ChannelSpec, ChannelStatus
}
resource! {
    /// One organization in one channel, in the organization's namespace.
    Membership, "memberships", MembershipSpec, MembershipStatus
}
resource! {
    /// A chaincode on a channel, in the consortium's namespace.
    Chaincode, "chaincodes", ChaincodeSpec, ChaincodeStatus
}
resource! {
    /// One config update of a channel, in the consortium's namespace.
    Proposal, "proposals", ProposalSpec, ProposalStatus
}
resource! {
    /// An organization's yes or no to a proposal, in its namespace.
    Vote, "votes", VoteSpec, VoteStatus, by spec
}
