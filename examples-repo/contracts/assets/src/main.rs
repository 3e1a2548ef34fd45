//! Assets and who owns them: an example of a contract.

use serde::{Deserialize, Serialize};
use tenter_fabric_shim::{Contract, ContractError, ServiceOptions, Stub, serve};

/// An asset, as it stands in the ledger under its id.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Asset {
    id: String,
    owner: String,
    value: u64,
}

struct Assets;

impl Contract for Assets {
    fn invoke(&self, stub: &mut Stub) -> Result<Vec<u8>, ContractError> {
        match stub.function() {
            "Create" => create(stub),
            "Read" => read(stub),
            "Transfer" => transfer(stub),
            "List" => list(stub),
            "SetPrice" => set_price(stub),
            "Price" => price(stub),
            other => {
                let known = "Create, Read, Transfer, List, SetPrice or Price";
                Err(ContractError::new(format!("there is no function {other:?}: {known}")))
            }
        }
    }
}

/// `Create(id, owner, value)`: adds an asset, and gives it.
fn create(stub: &mut Stub) -> Result<Vec<u8>, ContractError> {
    let [id, owner, value] = stub.parameters()?;
    if id.is_empty() {
        return Err("an asset must have an id".into());
    }
    let value = value.parse().map_err(|_| format!("a value must be a whole number, not {value:?}"))?;
    if stub.get_state(&id)?.is_some() {
        return Err(format!("asset {id} exists already").into());
    }
    put(stub, "Created", &Asset { id, owner, value })
}

/// `Read(id)`: gives an asset.
fn read(stub: &mut Stub) -> Result<Vec<u8>, ContractError> {
    let [id] = stub.parameters()?;
    json(&get(stub, &id)?)
}

/// `Transfer(id, newOwner)`: changes the owner of an asset, and gives the asset.
fn transfer(stub: &mut Stub) -> Result<Vec<u8>, ContractError> {
    let [id, owner] = stub.parameters()?;
    let asset = get(stub, &id)?;
    put(stub, "Transferred", &Asset { owner, ..asset })
}

/// `List()`: gives all assets, in the order of their ids.
fn list(stub: &mut Stub) -> Result<Vec<u8>, ContractError> {
    let [] = stub.parameters()?;
    let entries = stub.get_state_by_range("", "")?;
    let assets = entries.iter().map(|entry| parse(&entry.key, &entry.value));
    json(&assets.collect::<Result<Vec<Asset>, _>>()?)
}

/// Collection of what only its members see: its definition needs a collection of this name.
const PRICES: &str = "prices";

/// `SetPrice(id)`: puts the price of an asset where only the members of the collection see it. The price is transient data
/// of this name, for arguments stand in the ledger.
fn set_price(stub: &mut Stub) -> Result<Vec<u8>, ContractError> {
    let [id] = stub.parameters()?;
    let Asset { id, .. } = get(stub, &id)?;
    let price = stub.transient().get("price").ok_or("the price is given as transient data: price=NUMBER")?;
    let price = std::str::from_utf8(price).ok().and_then(|text| text.parse::<u64>().ok());
    let price = price.ok_or("a price must be a whole number")?;
    stub.put_private(PRICES, &id, price.to_string())?;
    Ok(Vec::new())
}

/// `Price(id)`: gives the price of an asset.
fn price(stub: &mut Stub) -> Result<Vec<u8>, ContractError> {
    let [id] = stub.parameters()?;
    stub.get_private(PRICES, &id)?.ok_or_else(|| format!("asset {id} has no price").into())
}

fn get(stub: &mut Stub, id: &str) -> Result<Asset, ContractError> {
    let bytes = stub.get_state(id)?.ok_or_else(|| format!("asset {id} does not exist"))?;
    parse(id, &bytes)
}

fn put(stub: &mut Stub, event: &str, asset: &Asset) -> Result<Vec<u8>, ContractError> {
    let bytes = json(asset)?;
    stub.put_state(&asset.id, bytes.clone())?;
    stub.set_event(event, bytes.clone())?;
    Ok(bytes)
}

fn parse(id: &str, bytes: &[u8]) -> Result<Asset, ContractError> {
    serde_json::from_slice(bytes).map_err(|error| format!("asset {id} cannot be read: {error}").into())
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, ContractError> {
    serde_json::to_vec(value).map_err(|error| error.to_string().into())
}

#[cfg(test)]
mod tests;

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    serve(Assets, &ServiceOptions::from_environment()?)?;
    Ok(())
}
