//! Writing of `.tar.gz` archives whose bytes depend on nothing but names and contents.
//!
//! A package's id is the hash of its bytes, and members compare ids, so the same files must give the same bytes on every
//! machine and with every release. A compressor promises neither across its versions. The deflate stream is therefore
//! made of stored blocks, written here: nothing is compressed, and no dependency takes part. Headers carry no time, no
//! owner and one fixed mode.

/// Size of a tar block.
const BLOCK: usize = 512;
/// Longest name that a plain header holds.
const NAME: usize = 100;
/// Longest stored block of deflate (RFC 1951, 3.2.4).
const STORED: usize = 0xffff;

/// A gzip-ed tar archive of these regular files, in this order.
pub(super) fn tar_gz<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in files {
        if name.len() <= NAME && name.is_ascii() {
            put(&mut tar, name, b'0', content);
        } else {
            // POSIX: an extended header gives the name, and the plain one after it only its beginning.
            put(&mut tar, "PaxHeaders/name", b'x', &pax_record("path", name));
            let mut end = name.len().min(NAME);
            while !name.is_char_boundary(end) {
                end -= 1;
            }
            put(&mut tar, name.get(..end).unwrap_or_default(), b'0', content);
        }
    }
    tar.resize(tar.len() + 2 * BLOCK, 0);
    gzip(&tar)
}

/// `LENGTH KEY=VALUE\n`, where the length counts itself.
fn pax_record(key: &str, value: &str) -> Vec<u8> {
    let rest = format!(" {key}={value}\n");
    let mut length = rest.len() + 1;
    while length.to_string().len() + rest.len() != length {
        length = length.to_string().len() + rest.len();
    }
    format!("{length}{rest}").into_bytes()
}

/// One entry: a ustar header and its content, padded.
fn put(tar: &mut Vec<u8>, name: &str, kind: u8, content: &[u8]) {
    let mut header = [0; BLOCK];
    let mut field = |at: usize, bytes: &[u8]| {
        for (target, byte) in header.iter_mut().skip(at).zip(bytes) {
            *target = *byte;
        }
    };
    field(0, name.as_bytes());
    field(100, b"0000644\0");
    field(108, b"0000000\0");
    field(116, b"0000000\0");
    field(124, format!("{:011o}\0", content.len()).as_bytes());
    field(136, b"00000000000\0");
    field(148, b"        ");
    field(156, &[kind]);
    field(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    for (target, byte) in header.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").as_bytes()) {
        *target = *byte;
    }
    tar.extend_from_slice(&header);
    tar.extend_from_slice(content);
    tar.resize(tar.len().next_multiple_of(BLOCK), 0);
}

/// A gzip member of stored blocks (RFC 1952): no time, no name, operating system unknown.
fn gzip(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    let mut blocks = content.chunks(STORED).peekable();
    while let Some(block) = blocks.next() {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(u8::from(blocks.peek().is_none()));
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&(!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    out.extend_from_slice(&crc32(content).to_le_bytes());
    let length = u32::try_from(content.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    out.extend_from_slice(&length.to_le_bytes());
    out
}

/// CRC-32 of gzip.
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    let step = |crc: u32, byte: &u8| {
        let index = (crc ^ u32::from(*byte)) & 0xff;
        (crc >> 8) ^ usize::try_from(index).ok().and_then(|index| TABLE.get(index)).copied().unwrap_or_default()
    };
    !bytes.iter().fold(u32::MAX, step)
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index: u32 = 0;
    while index < 256 {
        let mut value = index;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { (value >> 1) ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index as usize] = value;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn checksums_are_those_of_gzip() {
        // The check value of the CRC's definition.
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn lengths_of_extended_records_count_themselves() {
        assert_eq!(pax_record("path", "abc"), b"12 path=abc\n");
        for length in [80, 85, 86, 87, 88, 89, 90, 91, 92, 93, 985, 986, 987, 988, 989, 990, 991, 992] {
            let record = pax_record("path", &"a".repeat(length));
            let text = std::str::from_utf8(&record).unwrap();
            assert_eq!(text.split(' ').next().unwrap(), record.len().to_string());
        }
    }

    #[test]
    fn another_library_reads_what_is_written() {
        let long = "a/".repeat(120) + "file";
        let accents = "META-INF/é";
        let large = vec![7; 200_000];
        let files: [(&str, &[u8]); 4] = [("a", b""), ("b/c.json", b"{}"), (&long, &large), (accents, b"x")];
        let bytes = tar_gz(files);
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes.as_slice()));
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!((entry.header().mtime().unwrap(), entry.header().mode().unwrap()), (0, 0o644));
            let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.push((name, content));
        }
        let wanted: Vec<_> = files.map(|(name, content)| (name.to_owned(), content.to_vec())).into();
        assert_eq!(found, wanted);
    }
}
