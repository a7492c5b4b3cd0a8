//! State dicts as training scripts leave them: in checkpoints, with prefixes, in half precision, in any protocol. And
//! files without a state dict.

use std::sync::LazyLock;

use half::{bf16, f16};

use crate::bundles::Workspace;
use crate::state_dict::StateDict;
use crate::torch_save::{Object, Saved, Storage, Tensor, legacy_of, text, zip_of};

/// The embedder's file that [`weights`] becomes, however wrapped.
static EXPECTED: LazyLock<Vec<u8>> =
    LazyLock::new(|| Workspace::new().embedder(&weights().shared().zip()));
const WRAPPERS: [&str; 4] = ["state_dict", "model_state_dict", "model", "net"];

fn weights() -> StateDict {
    StateDict::of(64)
}

#[track_caller]
fn check(file: &[u8], what: &str) {
    assert!(Workspace::new().embedder(file) == *EXPECTED, "{what}");
}

fn with_prefix(prefix: &str, saved: Saved) -> Saved {
    let Object::StateDict(mut entries) = saved.root else {
        unreachable!("a state dict was made");
    };
    for (name, _) in &mut entries {
        name.insert_str(0, prefix);
    }
    Saved {
        root: Object::StateDict(entries),
        ..saved
    }
}

fn under(key: &str, saved: Saved) -> Saved {
    Saved {
        root: Object::Dict(vec![(text(key), saved.root)]),
        ..saved
    }
}

/// Plain values of all kinds, and operations that make them.
const PLAIN: &[(&str, &[u8])] = &[
    ("none", b"N"),
    ("best", b"G\x3f\xef\xc7\x1d\xe6\x9a\xd4\x2c"),
    ("best_double", b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n(X\x02\x00\x00\x00f8\x89\x88tR(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbC\x0812345678\x86R"),
    (
        "numbers",
        b"cnumpy.core.numeric\n_frombuffer\n(\x96\x02\x00\x00\x00\x00\x00\x00\x00\x00\x01X\x02\x00\x00\x00u1K\x02\x85X\x01\x00\x00\x00CtR",
    ),
    ("seed", b"\x8a\x09\xff\xff\xff\xff\xff\xff\xff\xff\x00"),
    ("long", b"\x8b\x02\x00\x00\x00\xff\xff"),
    ("short_text", b"\x8c\x03Ada"),
    ("long_text", b"\x8d\x03\x00\x00\x00\x00\x00\x00\x00Ada"),
    ("short_bytes", b"C\x03Ada"),
    ("bytes", b"B\x03\x00\x00\x00Ada"),
    ("long_bytes", b"\x8e\x03\x00\x00\x00\x00\x00\x00\x00Ada"),
    ("bytearray", b"\x96\x03\x00\x00\x00\x00\x00\x00\x00Ada"),
    ("encoded_bytes", b"c_codecs\nencode\nX\x03\x00\x00\x00AdaX\x06\x00\x00\x00latin1\x86R"),
    ("set", b"\x8f(K\x01K\x02\x90"),
    ("frozenset", b"(K\x01K\x02\x91"),
    ("older_set", b"c__builtin__\nset\n]K\x01a\x85R"),
    ("groups", b"](}X\x02\x00\x00\x00lrG\x3f\x50\x62\x4d\xd2\xf1\xa9\xfcs}e"),
    ("counts", b"ccollections\ndefaultdict\ncbuiltins\nint\n\x85RK\x01K\x02s"),
    ("args", b"cargparse\nNamespace\n)\x81}X\x05\x00\x00\x00epochK\x0csb"),
    ("path", b"cpathlib\nPosixPath\n)}\x92"),
    ("size", b"ctorch\nSize\nK\xa0K\xa0\x86\x85R"),
    ("device", b"ctorch\ndevice\nX\x04\x00\x00\x00cudaK\x00\x86R"),
    ("dtype", b"ctorch\nfloat16\n"),
];

#[test]
fn a_state_dict_lies_under_a_key_beside_other_things() {
    let weights = weights();
    for key in WRAPPERS {
        let mut saved = weights.shared();
        // A random generator's state, and one number in each of the other types.
        let mut others = Vec::new();
        for (class, size) in [
            ("ByteStorage", 1),
            ("CharStorage", 1),
            ("BoolStorage", 1),
            ("ShortStorage", 2),
            ("IntStorage", 4),
        ] {
            let tensor = Object::Tensor(Tensor::of(saved.storages.len(), 0, &[1]));
            let storage = Storage::new(class, 1, vec![1; size]);
            saved.storages.push(storage);
            others.push((text(class), tensor));
        }
        let plain = PLAIN
            .iter()
            .map(|&(name, operations)| (text(name), Object::Made(operations)));
        others.extend(plain);
        let step = Object::Tensor(Tensor::of(0, 0, &[]));
        let optimizer = Object::Dict(vec![(Object::Integer(0), step)]);
        let mut entries = vec![(text("epoch"), Object::Integer(12))];
        entries.push((
            text("optimizer"),
            Object::Dict(vec![(text("state"), optimizer)]),
        ));
        entries.push((text(key), saved.root));
        entries.push((text("others"), Object::Dict(others)));
        saved.root = Object::Dict(entries);
        check(&saved.zip(), key);
    }
}

#[test]
fn a_text_under_one_key_does_not_hide_the_state_dict_under_another() {
    let weights = weights();
    let mut saved = weights.shared();
    saved.root = Object::Dict(vec![
        (text("model"), text("InceptionResnetV1")),
        (text("net"), saved.root),
    ]);
    check(&saved.zip(), "net");
}

#[test]
fn names_may_begin_with_what_data_parallel_puts_there() {
    let weights = weights();
    for prefix in [
        "module.",
        "module.module.",
        "_orig_mod.",
        "model.",
        "net.module.",
    ] {
        let prefixed = with_prefix(prefix, weights.shared());
        check(&prefixed.zip(), prefix);
    }
    for key in WRAPPERS {
        let both = under(key, with_prefix("module.", weights.shared()));
        check(&under("state_dict", both).legacy(), key);
    }
    // The classifier is left out under its longer name, too.
    let published = with_prefix("module.", weights.separate());
    check(&published.zip(), "with a classifier");
}

#[test]
fn tensors_may_be_in_half_precision() {
    let weights = weights();
    let half = weights.in_two_bytes("HalfStorage", |value| f16::from_f32(value).to_le_bytes());
    check(&half.zip(), "torch.float16");
    let brain = weights.in_two_bytes("BFloat16Storage", |value| {
        bf16::from_f32(value).to_le_bytes()
    });
    check(&brain.zip(), "torch.bfloat16");
}

#[test]
fn pickles_may_be_of_protocols_2_to_5() {
    let saved = under("model", with_prefix("module.", weights().shared()));
    for protocol in 2..=5 {
        check(
            &saved.zip_in(protocol),
            &format!("zip in protocol {protocol}"),
        );
        check(
            &saved.legacy_in(protocol),
            &format!("legacy in protocol {protocol}"),
        );
    }
}

#[test]
fn a_whole_module_says_to_save_its_state_dict() {
    const CLASS: &str = "facenet_pytorch.models.inception_resnet_v1.InceptionResnetV1";
    let attributes = b")\x81}(X\x08\x00\x00\x00training\x89X\x0b\x00\x00\x00_parameters}\
        X\x08\x00\x00\x00_modules}ub.";
    let (module, class) = CLASS.rsplit_once('.').expect("a class in a module");
    let named = format!("c{module}\n{class}\n");
    let lengths = [module, class].map(|text| text.len() as u8);
    let stacked = [
        &[0x8c, lengths[0]],
        module.as_bytes(),
        &[0x8c, lengths[1]],
        class.as_bytes(),
        b"\x93",
    ];
    let source = b"X\x05\x00\x00\x00class\x87Q";
    let workspace = Workspace::new();
    for pickle in [
        [b"\x80\x02", named.as_bytes(), attributes].concat(),
        [b"\x80\x04", stacked.concat().as_slice(), attributes].concat(),
        // Before torch 1.6, with its source.
        [
            b"\x80\x02X\x06\x00\x00\x00module",
            named.as_bytes(),
            source,
            attributes,
        ]
        .concat(),
        // Within a checkpoint.
        [
            b"\x80\x02}X\x05\x00\x00\x00model",
            named.as_bytes(),
            attributes,
        ]
        .concat(),
    ] {
        for file in [zip_of(&pickle, []), legacy_of(&pickle)] {
            assert_eq!(
                workspace.reason(&file),
                format!(
                    "it holds a whole {CLASS}, whose code is not run here, expected its tensors: \
                    torch.save(model.state_dict(), ...)"
                )
            );
        }
    }
}

#[test]
fn a_torchscript_archive_says_what_it_is() {
    let pickle = b"\x80\x02c__torch__\nInceptionResnetV1\n)\x81.";
    let constants = ("constants.pkl".to_owned(), b"\x80\x02).".as_slice());
    assert_eq!(
        Workspace::new().reason(&zip_of(pickle, [constants])),
        "it is a TorchScript archive, which holds code: convert it as --torchscript, or save its tensors, \
        torch.save(torch.jit.load(file).state_dict(), ...)"
    );
}

#[test]
fn a_file_without_a_state_dict_says_what_it_is() {
    let workspace = Workspace::new();
    let tensor = || Object::Tensor(Tensor::of(0, 0, &[1]));
    let itself = Object::Made(b"}q\x00X\x03\x00\x00\x00neth\x00s");
    for (root, found) in [
        (Object::List(Vec::new()), "a list"),
        (tensor(), "a tensor"),
        (Object::Dict(Vec::new()), "an empty dict"),
        (
            Object::StateDict(vec![("last_linear.weight".to_owned(), Object::Integer(3))]),
            "a dict of last_linear.weight (an int)",
        ),
        (
            Object::Dict(vec![
                (text("epoch"), Object::Integer(3)),
                (
                    text("backbone\n"),
                    Object::Dict(vec![(text("weight"), tensor())]),
                ),
                (text("model"), Object::List(Vec::new())),
                (Object::Integer(0), Object::Made(b"\x8f")),
            ]),
            "a dict of epoch (an int), backbone\\n (a dict), model (a list), an int as key (a set)",
        ),
        (
            Object::Dict(vec![(
                text("state_dict"),
                Object::Dict(vec![(
                    text("net"),
                    Object::Dict(vec![(text("lr"), Object::Made(b"N"))]),
                )]),
            )]),
            "a dict of lr (None) under state_dict.net",
        ),
        (
            Object::Dict(
                (0..7)
                    .map(|epoch| (text(&format!("epoch {epoch}")), Object::Integer(epoch)))
                    .collect(),
            ),
            "a dict of epoch 0 (an int), epoch 1 (an int), epoch 2 (an int), epoch 3 (an int), epoch 4 (an int) \
            and 2 more",
        ),
        (
            Object::Dict(vec![(Object::Integer(7), tensor())]),
            "a dict with an int as a key",
        ),
        (itself, "a dict of net (a dict) under net.net.net.net"),
    ] {
        let storages = vec![Storage::float(&[1.0])];
        assert_eq!(
            workspace.refused(&Saved { root, storages }).to_string(),
            format!(
                "it holds {found}, expected a state dict, alone or under state_dict, model_state_dict, model or net: \
                torch.save(model.state_dict(), ...)"
            )
        );
    }
}

#[test]
fn a_tensor_left_over_or_there_twice_is_named() {
    let workspace = Workspace::new();
    let weights = weights();
    let refused = |name: &str, value: Object| {
        let mut saved = with_prefix("module.", weights.shared());
        let Object::StateDict(entries) = &mut saved.root else {
            unreachable!("a state dict was made");
        };
        entries.retain(|(other, _)| other != name);
        entries.push((name.to_owned(), value));
        workspace.refused(&saved).to_string()
    };
    let tensor = Object::Tensor(Tensor::of(0, 0, &[1]));
    assert_eq!(
        refused("last_bn.bias", tensor.clone()),
        "tensor last_bn.bias is there twice, with and without a prefix"
    );
    assert_eq!(
        refused("module.head.weight", tensor),
        "no layer of InceptionResnetV1 uses head.weight"
    );
    assert_eq!(
        refused("module.last_linear.weight", Object::Integer(3)),
        "tensor last_linear.weight is an int, expected a tensor"
    );
}
