//! Writes the gRPC stubs from the table below; needs no protoc.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "stubs")]
    stubs::write();
}

#[cfg(feature = "stubs")]
mod stubs {
    use tonic_build::manual::{Builder, Method, Service};

    /// Which sides of a method send a stream.
    #[derive(Clone, Copy)]
    enum Flow {
        Unary,
        Both,
    }

    /// Method name in Rust, its name on the wire, the message sent and the message answered.
    type Row = (&'static str, &'static str, Flow, &'static str, &'static str);

    const ENVELOPE: &str = "crate::common::Envelope";
    const EMPTY: &str = "crate::google::Empty";

    /// Package, service and methods. The path of a method is `/<package>.<service>/<method>`.
    const SERVICES: &[(&str, &str, &[Row])] = &[
        (
            "orderer",
            "AtomicBroadcast",
            &[
                ("broadcast", "Broadcast", Flow::Both, ENVELOPE, "crate::orderer::BroadcastResponse"),
                ("deliver", "Deliver", Flow::Both, ENVELOPE, "crate::orderer::DeliverResponse"),
            ],
        ),
        (
            "protos",
            "Deliver",
            &[
                ("deliver", "Deliver", Flow::Both, ENVELOPE, "crate::protos::DeliverResponse"),
                ("deliver_filtered", "DeliverFiltered", Flow::Both, ENVELOPE, "crate::protos::DeliverResponse"),
                (
                    "deliver_with_private_data",
                    "DeliverWithPrivateData",
                    Flow::Both,
                    ENVELOPE,
                    "crate::protos::DeliverResponse",
                ),
            ],
        ),
        (
            "protos",
            "Endorser",
            &[(
                "process_proposal",
                "ProcessProposal",
                Flow::Unary,
                "crate::protos::SignedProposal",
                "crate::protos::ProposalResponse",
            )],
        ),
        (
            "protos",
            "Chaincode",
            &[("connect", "Connect", Flow::Both, "crate::shim::ChaincodeMessage", "crate::shim::ChaincodeMessage")],
        ),
        (
            "protos",
            "Snapshot",
            &[
                ("generate", "Generate", Flow::Unary, "crate::protos::SignedSnapshotRequest", EMPTY),
                ("cancel", "Cancel", Flow::Unary, "crate::protos::SignedSnapshotRequest", EMPTY),
                (
                    "query_pendings",
                    "QueryPendings",
                    Flow::Unary,
                    "crate::protos::SignedSnapshotRequest",
                    "crate::protos::QueryPendingSnapshotsResponse",
                ),
            ],
        ),
        (
            "gateway",
            "Gateway",
            &[
                (
                    "endorse",
                    "Endorse",
                    Flow::Unary,
                    "crate::gateway::EndorseRequest",
                    "crate::gateway::EndorseResponse",
                ),
                ("submit", "Submit", Flow::Unary, "crate::gateway::SubmitRequest", "crate::gateway::SubmitResponse"),
                (
                    "commit_status",
                    "CommitStatus",
                    Flow::Unary,
                    "crate::gateway::SignedCommitStatusRequest",
                    "crate::gateway::CommitStatusResponse",
                ),
                (
                    "evaluate",
                    "Evaluate",
                    Flow::Unary,
                    "crate::gateway::EvaluateRequest",
                    "crate::gateway::EvaluateResponse",
                ),
            ],
        ),
    ];

    fn method(row: Row) -> Method {
        let (name, route, flow, input, output) = row;
        let builder = Method::builder()
            .name(name)
            .route_name(route)
            .input_type(input)
            .output_type(output)
            .codec_path("tonic_prost::ProstCodec");
        match flow {
            Flow::Unary => builder.build(),
            Flow::Both => builder.client_streaming().server_streaming().build(),
        }
    }

    pub fn write() {
        let services: Vec<Service> = SERVICES
            .iter()
            .map(|(package, name, methods)| {
                let start = Service::builder().package(package).name(name);
                methods.iter().fold(start, |service, row| service.method(method(*row))).build()
            })
            .collect();
        Builder::new()
            .build_client(cfg!(feature = "client"))
            .build_server(cfg!(feature = "server"))
            .build_transport(false)
            .compile(&services);
    }
}
