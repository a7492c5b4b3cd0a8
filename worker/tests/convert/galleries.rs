//! Lists of embeddings and names.

use half::bf16;
use tempfile::NamedTempFile;
use worker::prepare::convert::{ContentError, ConvertError, read_gallery};
use worker::vision::Gallery;

use crate::torch_save::{Object, Saved, Storage, Tensor};

const DIMENSION: usize = 8;

pub fn read(file: &[u8]) -> Result<Gallery, ConvertError> {
    let path = NamedTempFile::new().expect("a temporary file");
    std::fs::write(path.path(), file).expect("it can be written");
    read_gallery(path.path())
}

/// Unit vectors, one after the other.
fn embeddings(count: usize) -> Vec<f32> {
    let row = |row: usize| {
        let raw = (0..DIMENSION).map(move |index| ((row * 31 + index * 17) % 23) as f32 - 11.5);
        let length = raw.clone().map(|value| value * value).sum::<f32>().sqrt();
        raw.map(move |value| value / length)
    };
    (0..count).flat_map(row).collect()
}

fn names(names: &[&str]) -> Object {
    let text = |name: &&str| Object::Text((*name).to_owned());
    Object::List(names.iter().map(text).collect())
}

fn saved(embeddings: Vec<Object>, people: &[&str], storages: Vec<Storage>) -> Saved {
    Saved {
        root: Object::List(vec![Object::List(embeddings), names(people)]),
        storages,
    }
}

/// `torch.save([[tensor [1, D], ...], [name, ...]])` with a storage for each tensor.
pub fn classroom(people: &[&str]) -> Saved {
    let tensors = (0..people.len()).map(|row| Object::Tensor(Tensor::of(row, 0, &[1, DIMENSION])));
    let storages = embeddings(people.len());
    let storages = storages.chunks(DIMENSION).map(Storage::float);
    saved(tensors.collect(), people, storages.collect())
}

fn gallery(people: &[&str]) -> Gallery {
    let mut gallery = Gallery::new(DIMENSION);
    for (name, row) in people
        .iter()
        .zip(embeddings(people.len()).chunks(DIMENSION))
    {
        gallery.push(*name, row);
    }
    gallery
}

#[track_caller]
fn refused(saved: &Saved) -> ContentError {
    let [zip, legacy] = [saved.zip(), saved.legacy()].map(|file| match read(&file) {
        Err(ConvertError::Content { reason, .. }) => reason,
        other => panic!("{other:?}"),
    });
    assert_eq!(zip.to_string(), legacy.to_string());
    zip
}

#[test]
fn a_classroom_list_becomes_a_gallery() {
    let people = ["Ada", "Zoë \"Z\" O'Neil", "Ada"];
    let expected = gallery(&people);
    let saved = classroom(&people);
    assert_eq!(read(&saved.zip()).expect("the newer form"), expected);
    assert_eq!(read(&saved.legacy()).expect("the older form"), expected);

    let many: Vec<String> = (0..2500).map(|index| format!("person {index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(read(&classroom(&many).zip()).expect("many"), gallery(&many));
}

#[test]
fn tensors_may_be_flat_parameters_shared_or_one() {
    let people = ["Ada", "Grace", "Edsger"];
    let expected = gallery(&people);
    let shared = vec![Storage::float(&embeddings(3))];
    let view = |row: usize, shape: &[usize]| Tensor::of(0, row * DIMENSION, shape);
    let forms = vec![
        Object::Tensor(view(0, &[DIMENSION])),
        Object::Parameter(view(1, &[1, DIMENSION])),
        Object::Tensor(Tensor {
            requires_grad: true,
            ..view(2, &[1, DIMENSION])
        }),
    ];
    let mixed = saved(forms.clone(), &people, shared.clone());
    assert_eq!(read(&mixed.zip()).expect("mixed forms"), expected);
    assert_eq!(read(&mixed.legacy()).expect("mixed forms"), expected);

    let tuples = Saved {
        root: Object::Tuple(vec![Object::Tuple(forms), names(&people)]),
        storages: shared.clone(),
    };
    assert_eq!(read(&tuples.zip()).expect("tuples"), expected);

    let matrix = Saved {
        root: Object::List(vec![
            Object::Tensor(view(0, &[3, DIMENSION])),
            names(&people),
        ]),
        storages: shared,
    };
    assert_eq!(read(&matrix.zip()).expect("one matrix"), expected);
}

#[test]
fn embeddings_in_half_precision_are_normalized() {
    let people = ["Ada", "Grace"];
    let rounded = embeddings(2);
    let rounded = rounded
        .iter()
        .flat_map(|&value| bf16::from_f32(value).to_le_bytes());
    let storage = Storage::new("BFloat16Storage", 2 * DIMENSION, rounded.collect());
    let tensor = |row: usize| Object::Tensor(Tensor::of(0, row * DIMENSION, &[1, DIMENSION]));
    let read = read(&saved(vec![tensor(0), tensor(1)], &people, vec![storage]).zip());
    let read = read.expect("two embeddings");
    for ((_, row), exact) in read.rows().zip(embeddings(2).chunks(DIMENSION)) {
        let length: f32 = row.iter().map(|value| value * value).sum();
        assert!((length - 1.0).abs() < 1e-6);
        assert!(row.iter().zip(exact).all(|(a, b)| (a - b).abs() < 0.01));
    }
}

#[test]
fn a_list_that_is_not_a_gallery_says_why() {
    let people = ["Ada", "Grace"];
    let mut unpaired = classroom(&people);
    unpaired.root = match unpaired.root {
        Object::List(parts) => Object::List(vec![parts[0].clone(), names(&["Ada"])]),
        _ => unreachable!("a list was made"),
    };
    assert_eq!(
        refused(&unpaired).to_string(),
        "it has 2 embeddings, but 1 names"
    );

    let mut long = classroom(&people);
    long.storages[1] = Storage::float(&[1.0; DIMENSION]);
    let reason = refused(&long);
    assert!(
        matches!(&reason, ContentError::NotUnit { row: 1, name, .. } if name == "Grace"),
        "{reason}"
    );
    long.storages[1] = Storage::float(&[f32::NAN; DIMENSION]);
    assert!(matches!(
        refused(&long),
        ContentError::NotUnit { row: 1, .. }
    ));

    let storages = vec![Storage::float(&embeddings(2))];
    let tensor = |shape: &[usize]| Object::Tensor(Tensor::of(0, 0, shape));
    for (second, expected) in [
        (
            tensor(&[1, 7]),
            "tensor embeddings[1] has shape [1, 7], expected [1, 8]",
        ),
        (
            tensor(&[2, 8]),
            "tensor embeddings[1] has shape [2, 8], expected [1, 8]",
        ),
        (
            tensor(&[]),
            "tensor embeddings[1] has shape [], expected [1, 8]",
        ),
        (
            Object::Integer(1),
            "tensor embeddings[1] is an int, expected a tensor",
        ),
    ] {
        let list = saved(vec![tensor(&[1, 8]), second], &people, storages.clone());
        assert_eq!(refused(&list).to_string(), expected);
    }
    let root = |root| Saved {
        root,
        storages: Vec::new(),
    };
    assert!(matches!(
        refused(&saved(Vec::new(), &[], Vec::new())),
        ContentError::Empty
    ));
    for (other, found) in [
        (Object::Integer(7), "it holds an int, expected a gallery"),
        (
            Object::List(vec![names(&people)]),
            "it holds a list, expected a gallery",
        ),
        (
            Object::StateDict(Vec::new()),
            "it holds a dict, expected a gallery",
        ),
        (
            Object::List(vec![names(&people), names(&people)]),
            "tensor embeddings[0] is a str",
        ),
        (
            Object::List(vec![names(&[]), Object::Text("Ada".to_owned())]),
            "it holds a str as names, expected a gallery",
        ),
    ] {
        let reason = refused(&root(other)).to_string();
        assert!(reason.starts_with(found), "{reason}");
    }
    let mut unnamed = classroom(&["Ada"]);
    unnamed.root = match unnamed.root {
        Object::List(parts) => Object::List(vec![
            parts[0].clone(),
            Object::List(vec![Object::Integer(5)]),
        ]),
        _ => unreachable!("a list was made"),
    };
    assert!(
        refused(&unnamed)
            .to_string()
            .starts_with("it holds an int as the name at index 0")
    );
}
