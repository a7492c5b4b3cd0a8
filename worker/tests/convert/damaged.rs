//! Files that are cut short, damaged or malicious.

use std::io::Cursor;

use proptest::prelude::*;
use worker::prepare::convert::{ContentError, ConvertError, PickleError, TorchFileError};
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::galleries::{classroom, read};
use crate::pickler::pickle_of;
use crate::torch_save::{Object, legacy_of, zip_of};

const NO_DATA: [(String, &[u8]); 0] = [];

#[track_caller]
fn content_error(file: &[u8]) -> ContentError {
    match read(file) {
        Err(ConvertError::Content { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// Returns the error for a pickle without its frame, the same in both forms.
#[track_caller]
fn pickle_error(operations: &[u8]) -> PickleError {
    let pickle = [b"\x80\x02", operations, b"."].concat();
    let [zip, legacy] =
        [zip_of(&pickle, NO_DATA), legacy_of(&pickle)].map(|file| match content_error(&file) {
            ContentError::File(TorchFileError::Pickle(error)) => error,
            other => panic!("{other}"),
        });
    assert_eq!(zip, legacy);
    zip
}

#[test]
fn other_kinds_of_files_are_named() {
    let mut other_zip = ZipWriter::new(Cursor::new(Vec::new()));
    other_zip
        .start_file("arr_0.npy", SimpleFileOptions::default())
        .expect("a new entry");
    let other_zip = other_zip.finish().expect("written to memory").into_inner();
    let neither = "neither a zip archive nor a pickle of protocol 2 to 5";
    for (file, found) in [
        (b"".to_vec(), "empty"),
        (b"hello".to_vec(), neither),
        (b"\x89HDF\r\n".to_vec(), neither),
        (
            pickle_of(&Object::Integer(1001), 2),
            "a pickle without torch.save's header",
        ),
        (
            pickle_of(&Object::Integer(1001), 5),
            "a pickle without torch.save's header",
        ),
        (other_zip, "a zip archive without data.pkl"),
    ] {
        let error = content_error(&file).to_string();
        assert_eq!(
            error,
            format!("it is {found}, expected a file that torch.save writes")
        );
    }
}

#[test]
fn a_name_outside_the_list_is_refused_and_never_called() {
    for name in [
        "posix system",
        "os system",
        "builtins eval",
        "torch.nn.modules.linear Linear",
        "torch QInt8Storage",
        "torch.storage _load_from_bytes",
    ] {
        let (module, function) = name.split_once(' ').expect("two words");
        let call = [
            format!("c{module}\n{function}\n").as_bytes(),
            b"X\x04\x00\x00\x00true\x85R",
        ]
        .concat();
        let expected = PickleError::Forbidden {
            name: format!("{module}.{function}"),
        };
        assert_eq!(pickle_error(&call), expected);
        let (module_length, length) = (module.len() as u8, function.len() as u8);
        let stacked = [
            &[0x8c, module_length],
            module.as_bytes(),
            &[0x8c, length],
            function.as_bytes(),
            b"\x93X\x04\x00\x00\x00true\x85R",
        ]
        .concat();
        assert_eq!(pickle_error(&stacked), expected);
    }
}

#[test]
fn nesting_and_cycles_are_only_values() {
    const DEPTH: usize = 1_000_000;
    let deep = [
        b"\x80\x02".to_vec(),
        vec![b']'; DEPTH],
        vec![b'a'; DEPTH - 1],
        b".".to_vec(),
    ]
    .concat();
    let cycle = b"\x80\x02]q\x00h\x00a.";
    for pickle in [deep.as_slice(), cycle] {
        let error = content_error(&zip_of(pickle, NO_DATA));
        assert!(matches!(error, ContentError::NotAGallery { .. }), "{error}");
    }
}

#[test]
fn huge_counts_cost_nothing() {
    // A text of 4 GiB.
    assert_eq!(pickle_error(b"X\xff\xff\xff\xff"), PickleError::Truncated);
    // An integer of 255 bytes and one of 4 GiB.
    assert_eq!(pickle_error(b"\x8a\xff"), PickleError::Truncated);
    assert_eq!(
        pickle_error(b"\x8b\xff\xff\xff\xff"),
        PickleError::Truncated
    );
    // Texts, bytes and a frame of 16 EiB.
    for opcode in [0x8d, 0x8e, 0x95, 0x96] {
        let operation = [[opcode].as_slice(), &[0xff; 8]].concat();
        assert_eq!(pickle_error(&operation), PickleError::Truncated);
    }
    assert_eq!(pickle_error(&[b'N'; 5_000_000]), PickleError::TooLong);
    // A memo of 4 billion entries.
    assert!(matches!(
        pickle_error(b"Nr\xff\xff\xff\xffj\xfe\xff\xff\xff"),
        PickleError::Damaged { .. }
    ));

    let mut saved = classroom(&["Ada"]);
    saved.storages[0].count = i64::MAX as usize;
    for file in [saved.zip(), saved.legacy()] {
        let error = content_error(&file);
        assert!(
            matches!(error, ContentError::File(TorchFileError::Storage { .. })),
            "{error}"
        );
    }

    let mut saved = classroom(&["Ada"]);
    if let Object::List(parts) = &mut saved.root
        && let Object::List(rows) = &mut parts[0]
        && let Object::Tensor(tensor) = &mut rows[0]
    {
        (tensor.shape, tensor.strides) = (vec![1, 1 << 40], vec![0, 0]);
    }
    assert_eq!(
        content_error(&saved.zip()).to_string(),
        "tensor embeddings[0] is larger than its file"
    );
}

#[test]
fn operations_without_their_operands_are_damage() {
    for operations in [
        b"".as_slice(),
        b"a",
        b"e",
        b"(e",
        b"u",
        b"}(NNNu",
        b"s",
        b"R",
        b"Q",
        b"t",
        b"\x87",
        b"b",
        b"q\x00",
        b"h\x09",
        b"(N(a",
        b"]b",
        b"NNa",
        b"NNNs",
        b")Q",
        b")NR",
        b"ccollections\nOrderedDict\n(K\x01tR",
        b"\x81",
        b"))\x92",
        b"\x90",
        b"(N\x90",
        b"](N\x90",
        b"\x91",
        b"\x93",
        b"NN\x93",
        b"\x94",
    ] {
        let error = pickle_error(operations);
        assert!(
            matches!(error, PickleError::Damaged { .. }),
            "{operations:?}: {error}"
        );
    }
    assert_eq!(pickle_error(b"\x95"), PickleError::Truncated);
}

#[test]
fn an_opcode_or_protocol_that_is_not_read_is_named() {
    for (operations, expected) in [
        (b"I7\n".as_slice(), "its pickle has the opcode 0x49 (INT)"),
        (
            b"U\x03Ada",
            "its pickle has the opcode 0x55 (SHORT_BINSTRING, a str of Python 2)",
        ),
        (b"\x97", "its pickle has the opcode 0x97 (NEXT_BUFFER)"),
        (
            b"\xff",
            "its pickle has the opcode 0xff (no opcode of Python's)",
        ),
        (b"\x80\x01", "its pickle is of protocol 1, expected 2 to 5"),
        (b"\x80\x06", "its pickle is of protocol 6, expected 2 to 5"),
    ] {
        let error = pickle_error(operations).to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn a_cut_file_is_never_read() {
    let saved = classroom(&["Ada", "Grace"]);
    for file in [
        saved.zip(),
        saved.legacy(),
        saved.zip_in(5),
        saved.legacy_in(5),
    ] {
        for length in 0..file.len() {
            let error = content_error(&file[..length]);
            assert!(
                matches!(error, ContentError::File(_)),
                "{length} bytes: {error}"
            );
        }
    }
}

#[test]
fn a_changed_number_in_an_archive_is_noticed() {
    let saved = classroom(&["Ada", "Grace"]);
    let mut file = saved.zip();
    let number = &saved.storages[1].bytes[..8];
    let place = file
        .windows(8)
        .position(|bytes| bytes == number)
        .expect("stored as it is");
    file[place] ^= 1;
    let error = content_error(&file);
    assert!(
        matches!(error, ContentError::File(TorchFileError::Zip { .. })),
        "{error}"
    );
    assert!(error.to_string().contains("data/1"), "{error}");
}

proptest! {
    /// Changed bytes give a gallery or an error, never a panic.
    #[test]
    fn damage_is_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let saved = classroom(&["Ada", "Grace"]);
        for mut file in [saved.zip(), saved.legacy(), saved.legacy_in(5)] {
            for (place, byte) in &changes {
                let place = place.index(file.len());
                file[place] = *byte;
            }
            let _ = read(&file);
        }
    }
}
