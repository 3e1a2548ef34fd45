//! Reaching the cluster: configuration, a first answer, the Consortium object; and what the failures mean.

use std::sync::Arc;
use std::time::Duration;

use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use tokio::time::timeout;

use super::args::Global;
use super::exit::Exit;
use super::outcome::CliError;
use crate::controllers::context::Context;
use crate::controllers::failure::{Cause, Failure, describe};
use crate::nodes::Nodes;
use crate::nodes::dial::{PortForwardRoute, Route, ServiceRoute};
use crate::nodes::store::KubeStore;
use crate::resources::Consortium;
use crate::sync::engine::Engine;

/// Longest time until a connection stands.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longest first answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A cluster that has answered.
pub struct Cluster {
    /// Looks and plans.
    pub engine: Engine,
}

impl Cluster {
    /// Connects, and makes sure that the API server answers.
    pub async fn connect(global: &Global) -> Result<Self, CliError> {
        let (mut config, in_cluster) = configuration(global).await?;
        config.connect_timeout = Some(CONNECT_LIMIT);
        let server = config.cluster_url.to_string();
        let client = Client::try_from(config).map_err(|error| failed("use the kubeconfig", &server, &error))?;
        match timeout(ANSWER_LIMIT, client.apiserver_version()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(failed("reach the API server", &server, &error)),
            Err(_) => {
                let message = format!("the API server at {server} did not answer within {} s", ANSWER_LIMIT.as_secs());
                return Err(CliError::new(Exit::Unreachable, message, UNREACHABLE));
            }
        }
        let ctx = Arc::new(Context::new(client.clone(), &global.namespace));
        let route: Arc<dyn Route> = if in_cluster {
            Arc::new(ServiceRoute::new(ctx.cache.clone()))
        } else {
            Arc::new(PortForwardRoute::new(client.clone(), ctx.cache.clone()))
        };
        let nodes = Arc::new(Nodes::new(Arc::new(KubeStore::new(client, ctx.cache.clone())), route));
        Ok(Self { engine: Engine { ctx, nodes } })
    }

    /// The Consortium object: the one that `--consortium` names, or the only one of the namespace; `None` when there is none.
    pub async fn consortium(&self, global: &Global) -> Result<Option<Consortium>, CliError> {
        let namespace = &global.namespace;
        let list = self.list(global).await?;
        let names: Vec<String> = list.iter().map(ResourceExt::name_any).collect();
        match &global.consortium {
            Some(wanted) => Ok(list.into_iter().find(|object| object.name_any() == *wanted)),
            None if list.len() > 1 => {
                let message = format!("namespace {namespace} has several Consortium objects: {}", names.join(", "));
                Err(CliError::new(Exit::Usage, message, "name one with --consortium"))
            }
            None => Ok(list.into_iter().next()),
        }
    }

    /// Makes sure that the cluster knows Tenter's kinds and lets this account list them.
    pub async fn known_kinds(&self, global: &Global) -> Result<(), CliError> {
        self.list(global).await.map(|_| ())
    }

    async fn list(&self, global: &Global) -> Result<Vec<Consortium>, CliError> {
        let namespace = &global.namespace;
        let api = Api::<Consortium>::namespaced(self.engine.ctx.client.clone(), namespace);
        match timeout(ANSWER_LIMIT, api.list(&ListParams::default())).await {
            Ok(Ok(list)) => Ok(list.items),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                let message = "the cluster does not know Tenter's kinds";
                Err(CliError::new(Exit::Failure, message, "tenter crds | kubectl apply --server-side -f -"))
            }
            Ok(Err(error)) => Err(failed("list the Consortium objects", namespace, &error)),
            Err(_) => {
                let message = format!("the API server did not list the Consortium objects of namespace {namespace}");
                Err(CliError::new(Exit::Unreachable, message, UNREACHABLE))
            }
        }
    }

    /// The Consortium object, which must be there.
    pub async fn required_consortium(&self, global: &Global) -> Result<Consortium, CliError> {
        let found = self.consortium(global).await?;
        found.ok_or_else(|| {
            let message = match &global.consortium {
                Some(name) => format!("namespace {} has no Consortium {name}", global.namespace),
                None => format!("namespace {} has no Consortium object", global.namespace),
            };
            let hint =
                "it holds the daemon's own settings: deploy/README.md shows one; --namespace names another namespace";
            CliError::new(Exit::Failure, message, hint)
        })
    }
}

const UNREACHABLE: &str =
    "check the network and the kubeconfig (--kubeconfig, --context); kubectl version asks the same server";

/// The configuration that flags and surroundings name, and whether it is the cluster's own account.
async fn configuration(global: &Global) -> Result<(Config, bool), CliError> {
    let options = KubeConfigOptions { context: global.context.clone(), cluster: None, user: None };
    if let Some(path) = &global.kubeconfig {
        let hint = "--kubeconfig (TENTER_KUBECONFIG) names a kubeconfig file";
        if !path.is_file() {
            return Err(CliError::new(Exit::Usage, format!("there is no kubeconfig {}", path.display()), hint));
        }
        let kubeconfig = Kubeconfig::read_from(path).map_err(|error| {
            CliError::new(Exit::Usage, format!("cannot read kubeconfig {}: {error}", path.display()), hint)
        })?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(|error| {
            CliError::new(Exit::Usage, format!("cannot use kubeconfig {}: {error}", path.display()), hint)
        })?;
        return Ok((config, false));
    }
    let local = Config::from_kubeconfig(&options).await;
    match local {
        Ok(config) => Ok((config, false)),
        Err(_) if global.context.is_none() && std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => {
            let config = Config::incluster().map_err(|error| {
                CliError::plain(Exit::Unreachable, format!("cannot use the cluster's own account: {error}"))
            })?;
            Ok((config, true))
        }
        Err(error) => Err(CliError::new(
            Exit::Unreachable,
            format!("no cluster is known: {}", error.to_string().replace("'\"", "").replace("\"'", "")),
            "name a kubeconfig with --kubeconfig or KUBECONFIG; tenter plan --offline needs none",
        )),
    }
}

/// What a failed call means for the exit code.
pub fn failed(what: &str, whom: &str, error: &kube::Error) -> CliError {
    let message = format!("cannot {what} ({whom}): {}", describe(error));
    let refused = |hint: &str| CliError::new(Exit::Unauthorised, message.clone(), hint);
    match (Cause::of(error), error) {
        (Cause::Refused, kube::Error::Api(status)) if status.code == 401 => {
            refused("the API server does not accept the kubeconfig's credentials")
        }
        (Cause::Refused, kube::Error::Auth(_)) => refused("the kubeconfig's credentials cannot be used"),
        (Cause::Refused, _) => {
            refused("the account may not do this: deploy/README.md lists the rights that each command needs")
        }
        (Cause::Other, _) => CliError::plain(Exit::Failure, message),
        (Cause::Unreachable, _) => CliError::new(Exit::Unreachable, message, UNREACHABLE),
    }
}

/// What a failed read or write of an object means for the exit code.
pub fn refused(failure: &Failure) -> CliError {
    let message = failure.message.clone();
    match failure.cause {
        Cause::Other => CliError::plain(Exit::Failure, message),
        Cause::Refused => CliError::plain(Exit::Unauthorised, message),
        Cause::Unreachable => CliError::new(Exit::Unreachable, message, UNREACHABLE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_follow_the_cause() {
        let exit = |cause| refused(&Failure { cause, ..Failure::new("List", "403") }).exit;
        assert_eq!(exit(Cause::Refused), Exit::Unauthorised);
        assert_eq!(exit(Cause::Unreachable), Exit::Unreachable);
        assert_eq!(exit(Cause::Other), Exit::Failure);
    }
}
