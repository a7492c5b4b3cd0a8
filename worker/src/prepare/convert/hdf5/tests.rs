use super::*;

/// A file under construction. Each method appends a structure and returns its address.
struct Writer(Vec<u8>);

impl Writer {
    fn block(&mut self, parts: &[&[u8]]) -> u64 {
        let address = self.0.len() as u64;
        self.0.extend(parts.concat());
        address
    }

    fn header(&mut self, messages: &[(usize, Vec<u8>)]) -> u64 {
        let mut body = Vec::new();
        for (kind, content) in messages {
            let length = content.len().next_multiple_of(8);
            body.extend([*kind as u8, 0, length as u8, 0, 0, 0, 0, 0]);
            body.extend(content);
            body.resize(body.len() + length - content.len(), 0);
        }
        let start = [1, 0, messages.len() as u8, 0, 1, 0, 0, 0];
        self.block(&[&start, &[body.len() as u8], &[0; 7], &body])
    }

    /// Appends a group with one member.
    fn group(&mut self, name: &str, member: u64) -> u64 {
        let names = self.block(&[name.as_bytes(), &[0]]);
        let heap = self.block(&[b"HEAP", &[0; 20], &names.to_le_bytes()]);
        let entry = [[0; 8], member.to_le_bytes()].concat();
        let symbols = self.block(&[b"SNOD\x01\0\x01\0", &entry, &[0; 24]]);
        let children = [[0; 8], symbols.to_le_bytes(), [0; 8]].concat();
        let tree = self.block(&[b"TREE\0\0\x01\0", &[0; 16], &children]);
        let table = [tree.to_le_bytes(), heap.to_le_bytes()].concat();
        self.header(&[(SYMBOL_TABLE, table)])
    }

    fn dataset(&mut self, shape: &[u64], values: &[f32]) -> u64 {
        let content: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let location = [self.block(&[&content]), content.len() as u64];
        let sizes = shape.iter().flat_map(|size| size.to_le_bytes());
        let space = [1, shape.len() as u8, 0, 0, 0, 0, 0, 0]
            .into_iter()
            .chain(sizes);
        let layout = [3, 1]
            .into_iter()
            .chain(location.into_iter().flat_map(u64::to_le_bytes));
        self.header(&[
            (DATASPACE, space.collect()),
            (DATATYPE, vec![0x11, 0, 0, 0, 4, 0, 0, 0]),
            (LAYOUT, layout.collect()),
        ])
    }
}

/// Returns a file with the dataset `layer/kernel:0`.
fn file() -> Vec<u8> {
    let mut writer = Writer(SIGNATURE.to_vec());
    writer.0.resize(ROOT_HEADER + 8, 0);
    writer.0[13..15].fill(8);
    let dataset = writer.dataset(&[2, 1], &[1.5, -2.0]);
    let group = writer.group("kernel:0", dataset);
    let root = writer.group("layer", group);
    writer.0[ROOT_HEADER..][..8].copy_from_slice(&root.to_le_bytes());
    writer.0
}

#[test]
fn a_dataset_is_found_by_its_path() {
    let file = file();
    let found = datasets(&file).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["layer/kernel:0"]);
    let dataset = &found["layer/kernel:0"];
    assert_eq!(dataset.shape, [2, 1]);
    assert_eq!(dataset.values(), [1.5, -2.0]);
}

#[test]
fn a_damaged_file_is_refused_or_read_and_never_panics() {
    let file = file();
    assert_eq!(datasets(b"neither").unwrap_err(), Hdf5Error::NotHdf5);
    for length in SIGNATURE.len()..file.len() {
        assert!(datasets(&file[..length]).is_err(), "cut at {length}");
    }
    for offset in 0..file.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut damaged = file.clone();
            damaged[offset] = byte;
            let _ = datasets(&damaged);
        }
    }
}

#[test]
fn a_group_that_contains_itself_is_refused() {
    let mut writer = Writer(file());
    let cyclic = writer.group("again", 0);
    let symbols = writer.0.windows(4).rposition(|bytes| bytes == b"SNOD");
    let member = symbols.unwrap() + 16;
    writer.0[member..][..8].copy_from_slice(&cyclic.to_le_bytes());
    writer.0[ROOT_HEADER..][..8].copy_from_slice(&cyclic.to_le_bytes());
    assert_eq!(datasets(&writer.0).unwrap_err(), Hdf5Error::Damaged);
}
