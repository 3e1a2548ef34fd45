use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

fn gz(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// A tar archive by another library, with what its writer would not take: any name and type.
fn tar(entries: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        if matches!(kind, b'1' | b'2') {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn code() -> Vec<u8> {
    gz(&tar(&[("src/", b'5', b""), ("src/main.go", b'0', b"package main")]))
}

const GOOD: &[u8] = br#"{"type":"golang","label":"asset_1","path":"example.org/asset"}"#;

/// A package of this description and code.
fn package(metadata: &[u8], code: &[u8]) -> Vec<u8> {
    gz(&tar(&[(METADATA, b'0', metadata), (CODE, b'0', code)]))
}

fn error(bytes: Vec<u8>) -> String {
    Package::read(bytes).unwrap_err().to_string()
}

fn with_code(entries: &[(&str, u8, &[u8])]) -> String {
    error(package(GOOD, &gz(&tar(entries))))
}

#[test]
fn a_good_package_is_read() {
    let bytes = package(GOOD, &code());
    let package = Package::read(bytes.clone()).unwrap();
    assert_eq!((package.label().as_str(), package.kind()), ("asset_1", "golang"));
    assert_eq!(package.id().to_string(), format!("asset_1:{}", sha256_hex(&bytes)));
    assert_eq!(package.bytes(), bytes);
    // Several members of gzip make one stream.
    let archive = tar(&[(CODE, b'0', &code()), (METADATA, b'0', GOOD)]);
    let (one, two) = archive.split_at(700);
    Package::read([gz(one), gz(two)].concat()).unwrap();
}

#[test]
fn archives_must_be_whole() {
    assert_eq!(error(Vec::new()), "the package is no intact .tar.gz archive");
    assert_eq!(error(b"no package".to_vec()), "the package is no intact .tar.gz archive");
    let bytes = package(GOOD, &code());
    for cut in [11, bytes.len() / 2, bytes.len() - 9, bytes.len() - 1] {
        assert_eq!(error(bytes[..cut].to_vec()), "the package is no intact .tar.gz archive", "{cut}");
    }
    // A wrong checksum.
    let mut bytes = package(GOOD, &code());
    let at = bytes.len() - 5;
    bytes[at] ^= 1;
    assert_eq!(error(bytes), "the package is no intact .tar.gz archive");
    let trailing = [tar(&[(METADATA, b'0', GOOD), (CODE, b'0', &code())]), b"more".to_vec()].concat();
    assert_eq!(error(gz(&trailing)), "the package goes on after the end of its archive; make it anew");
    assert_eq!(error(package(GOOD, b"no code")), "the code.tar.gz of the package is no intact .tar.gz archive");
}

#[test]
fn a_package_holds_two_files() {
    assert_eq!(error(gz(&tar(&[(METADATA, b'0', GOOD)]))), "the package has no code.tar.gz");
    assert_eq!(error(gz(&tar(&[(CODE, b'0', &code())]))), "the package has no metadata.json");
    let extra = tar(&[(METADATA, b'0', GOOD), (CODE, b'0', &code()), ("README", b'0', b"")]);
    assert!(error(gz(&extra)).starts_with("`README` does not belong into a package"));
    let dotted = tar(&[("./metadata.json", b'0', GOOD), (CODE, b'0', &code())]);
    assert!(error(gz(&dotted)).starts_with("`./metadata.json` does not belong"));
    let twice = tar(&[(METADATA, b'0', GOOD), (CODE, b'0', &code()), (METADATA, b'0', GOOD)]);
    assert_eq!(error(gz(&twice)), "`metadata.json` is twice in the package");
    let folder = tar(&[("folder/", b'5', b"")]);
    assert_eq!(error(gz(&folder)), "`folder/` in the package is no regular file (tar type '5')");
    let link = tar(&[(METADATA, b'2', b"")]);
    assert_eq!(error(gz(&link)), "`metadata.json` in the package is no regular file (tar type '2')");
    let global = tar(&[("pax", b'g', b"12 path=abc\n")]);
    assert_eq!(error(gz(&global)), "`pax` in the package is no regular file (tar type 'g')");
}

#[test]
fn code_stays_where_it_belongs() {
    for path in ["/etc/passwd", "../up", "src/../../up", "..", "a//b", "a/./b", "a\\..\\b", "a\nb", "./../b"] {
        let found = with_code(&[(path, b'0', b"x")]);
        assert_eq!(
            found,
            format!(
                "`{path}` in the {} is no plain path: it must be relative, without `..`, `.` and empty parts",
                Part::Code
            )
        );
    }
    for kind in [b'1', b'2', b'3', b'4', b'6', b'g'] {
        let found = with_code(&[("src/x", kind, b"")]);
        assert!(found.starts_with("`src/x` in the code.tar.gz of the package is no regular file"), "{found}");
    }
    assert!(with_code(&[("a", b'0', b"1"), ("a", b'0', b"2")]).starts_with("`a` is twice"));
    assert!(with_code(&[("./a", b'0', b"1"), ("a", b'0', b"2")]).starts_with("`a` is twice"));
    let usual = gz(&tar(&[("./", b'5', b""), ("./src/", b'5', b""), ("./src/..data", b'0', b"x"), ("b/", b'0', b"")]));
    let found = Package::read(package(GOOD, &usual));
    // An old header with a slash at the end is a folder for Go, and no file.
    assert!(matches!(&found, Err(PackageError::NotAFile { name, kind: '0', .. }) if name == "b/"), "{found:?}");
}

#[test]
fn descriptions_are_held_to_one_reading() {
    let described = |metadata: &str| Package::read(package(metadata.as_bytes(), &code())).map(|package| package.id);
    let text = |metadata: &str| described(metadata).unwrap_err().to_string();
    described(r#"{"type":"node","label":"a","more":{"x":1}}"#).unwrap();
    assert_eq!(text(r#"{"label":"a"}"#), "the metadata.json of the package names no type");
    assert_eq!(text(r#"{"type":"node","label":"no good!"}"#), "the package has an illegal label");
    assert_eq!(text(r#"{"type":"node"}"#), "the package has an illegal label");
    assert!(text(r#"{"type":"node","label":"a","Label":"b"}"#).contains("has the key `Label`; write `label`"));
    for unreadable in ["", "[]", "{", r#"{"type":"node","label":"a","label":"b"}"#, r#"{"type":1,"label":"a"}"#] {
        assert_eq!(text(unreadable), "the metadata.json of the package cannot be read", "{unreadable}");
    }
    let long = format!(r#"{{"type":"node","label":"a","path":"{}"}}"#, "x".repeat(70_000));
    assert!(text(&long).contains("too large"));
}

#[test]
fn bombs_are_stopped() {
    assert!(error(vec![0; MAX_PACKAGE + 1]).contains("too large"));
    // By what a header says, before anything is unpacked.
    let mut archive = tar(&[("src/zeros", b'0', b"")]);
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes().copy_from_slice(&archive[..512]);
    header.set_size(MAX_UNPACKED + 1);
    header.set_cksum();
    archive[..512].copy_from_slice(header.as_bytes());
    let found = error(package(GOOD, &gz(&archive)));
    assert_eq!(found, format!("the {} is too large: {MAX_UNPACKED} bytes unpacked is the limit", Part::Code));
    // By what there is, entries or not.
    let large = gz(&tar(&[("a", b'0', &[0; 9000]), ("b", b'0', &[0; 9000])]));
    let padding = gz(&[tar(&[("a", b'0', b"x")]), vec![0; 20_000]].concat());
    for archive in [large, padding] {
        let within = |limit| walk_within(Part::Code, limit, archive.as_slice(), |_, _, _| Ok(()));
        assert!(matches!(within(18_000), Err(PackageError::TooLarge { part: Part::Code, .. })));
        within(30_000).unwrap();
    }
}

#[test]
fn labels_are_fabrics() {
    for good in ["a", "9", "asset_1.0+b-c", &"a".repeat(MAX_LABEL)] {
        assert_eq!(good.parse::<Label>().unwrap().as_str(), good);
    }
    for bad in ["", "_a", ".a", "-a", "a b", "a:b", "a/b", "a\n", "é", "aé", &"a".repeat(MAX_LABEL + 1)] {
        assert!(bad.parse::<Label>().is_err(), "{bad}");
    }
}

#[test]
fn ids_are_read_as_written() {
    let hash = "0123456789abcdef".repeat(4);
    let text = format!("asset_1:{hash}");
    let id: PackageId = text.parse().unwrap();
    assert_eq!((id.to_string(), id.label().as_str(), id.hash()), (text, "asset_1", hash.as_str()));
    let upper = hash.to_uppercase();
    for bad in
        ["asset", "asset:", &format!(":{hash}"), &format!("a:b:{hash}"), &format!("a:{upper}"), &format!("a:{hash}0")]
    {
        assert!(bad.parse::<PackageId>().is_err(), "{bad}");
    }
}

fn connection(client: bool) -> ServiceConnection {
    let client = client.then(|| ServiceClient { key: "KEY\n".to_owned(), certificate: "CERT\n".to_owned() });
    ServiceConnection {
        address: "{{.peer}}-asset.acme:9999".to_owned(),
        dial_timeout: "10s".to_owned(),
        tls: Some(ServiceTls { root_certificate: "ROOT\n".to_owned(), client }),
    }
}

/// The files of the code.
fn contents(package: &Package) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    walk(Part::Package, package.bytes(), |name, _, content| {
        if name == CODE {
            walk(Part::Code, content, |name, is_file, content| {
                let mut bytes = Vec::new();
                content.read_to_end(&mut bytes).unwrap();
                assert!(!is_file || found.insert(name.to_owned(), bytes).is_none());
                Ok(())
            })?;
        }
        Ok(())
    })
    .unwrap();
    found
}

/// These ids stand in clusters: a change here makes every member approve and install anew.
#[test]
fn services_have_the_same_id_for_ever() {
    let label: Label = "asset_1".parse().unwrap();
    let plain = ServiceConnection { tls: None, ..connection(false) };
    let packages = [plain, connection(false), connection(true)].map(|connection| Package::service(&label, &connection));
    let files = packages.each_ref().map(|package| {
        let mut files = contents(package);
        let file = files.remove(CONNECTION).unwrap();
        assert!(files.is_empty());
        String::from_utf8(file).unwrap()
    });
    assert_eq!(
        files,
        [
            r#"{"address":"{{.peer}}-asset.acme:9999","dial_timeout":"10s","tls_required":false}"#,
            r#"{"address":"{{.peer}}-asset.acme:9999","dial_timeout":"10s","tls_required":true,"client_auth_required":false,"root_cert":"ROOT\n"}"#,
            r#"{"address":"{{.peer}}-asset.acme:9999","dial_timeout":"10s","tls_required":true,"client_auth_required":true,"client_key":"KEY\n","client_cert":"CERT\n","root_cert":"ROOT\n"}"#,
        ]
    );
    let ids = packages.each_ref().map(|package| package.id().hash().to_owned());
    assert_eq!(
        ids,
        [
            "bfc73677a803d9bc04ffd898572e889ac52b67380ad23dcfff653b1731c63e0c",
            "68a68eb447482d3d16f02123cc85eae209da29861c808beae2f235d7beca2b30",
            "270004bd3dbeb3fed4e693d6d7f52d8299c9cc1f6710ef17f0e03ad76a5776fe"
        ]
    );
    for package in packages {
        assert_eq!(package.kind(), "ccaas");
        assert_eq!(Package::read(package.bytes().to_vec()).unwrap(), package);
    }
}

#[test]
fn keys_are_not_shown() {
    let shown = format!("{:?}", connection(true));
    assert!(shown.contains("CERT") && !shown.contains("KEY"), "{shown}");
}

#[test]
fn files_that_make_no_package_are_refused() {
    let label: Label = "a".parse().unwrap();
    let make = |files: &[&str]| {
        Package::from_files(&label, "node", &files.iter().map(|name| ((*name).to_owned(), vec![1])).collect())
    };
    assert!(matches!(make(&[]), Err(PackageError::NoFiles)));
    for bad in ["/a", "../a", "a/", "a//b", "./a", ""] {
        assert!(matches!(make(&[bad]), Err(PackageError::Path { .. })), "{bad}");
    }
    assert!(matches!(make(&["a", "a-b", "a/b"]), Err(PackageError::Twice { .. })));
    assert!(matches!(Package::from_files(&label, "", &[("a".to_owned(), vec![])].into()), Err(PackageError::NoType)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_made_of_files_is_read_again(
        files in prop::collection::btree_map("[a-z]{1,60}x(/[a-zé]{1,60}y){0,3}\\.z", prop::collection::vec(any::<u8>(), 0..2000), 1..8),
        label in "[a-zA-Z0-9][a-zA-Z0-9_.+-]{0,20}",
    ) {
        let label: Label = label.parse().unwrap();
        let made = Package::from_files(&label, "node", &files).unwrap();
        let again = Package::from_files(&label, "node", &files).unwrap();
        prop_assert_eq!(made.bytes(), again.bytes());
        prop_assert_eq!(contents(&made), files);
    }

    #[test]
    fn damaged_packages_are_refused_without_panic(at in any::<prop::sample::Index>(), bit in 0..8u8, cut in any::<prop::sample::Index>()) {
        let good = package(GOOD, &code());
        let mut damaged = good.clone();
        damaged[at.index(good.len())] ^= 1 << bit;
        if let Ok(read) = Package::read(damaged.clone()) {
            // The same content may be packed in other ways; that makes another package.
            prop_assert_eq!(contents(&read), contents(&Package::read(good.clone()).unwrap()));
            prop_assert_eq!(read.id().hash(), sha256_hex(&damaged));
            prop_assert_ne!(read.id().hash(), sha256_hex(&good));
        }
        prop_assert!(Package::read(good[..cut.index(good.len())].to_vec()).is_err());
    }

    #[test]
    fn rubbish_is_no_package(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Package::read(bytes.clone()).is_err());
        prop_assert!(Package::read(gz(&bytes)).is_err());
        prop_assert!(Package::read(package(&bytes, &code())).is_err());
    }
}

#[test]
fn where_the_service_is_is_told_in_one_way_only() {
    let metadata = br#"{"type":"ccaas","label":"asset_1"}"#;
    let server = |name: &str, connection: &str| {
        let code = gz(&tar(&[(name, b'0', connection.as_bytes())]));
        Package::read(package(metadata, &code)).unwrap().server().map_err(|error| error.to_string())
    };
    let good = r#"{"address":"cc.example.com:9999","dial_timeout":"10s","tls_required":false}"#;
    assert_eq!(server("connection.json", good).unwrap(), "cc.example.com:9999");
    assert_eq!(server("./connection.json", good).unwrap(), "cc.example.com:9999");
    assert!(server("src/connection.json", good).unwrap_err().contains("has no connection.json"));
    // Go would take the second address of each of these.
    for twice in [
        r#"{"address":"a:1","address":"b:2"}"#,
        r#"{"address":"a:1","Address":"b:2"}"#,
        r#"{"address":"a:1","addreſs":"b:2"}"#,
    ] {
        assert!(server("connection.json", twice).unwrap_err().contains("cannot be read"), "{twice}");
    }
    let made = ServiceConnection { address: "a:1".to_owned(), dial_timeout: "10s".to_owned(), tls: None };
    assert_eq!(Package::service(&"asset_1".parse().unwrap(), &made).server().unwrap(), "a:1");
}
