//! The gallery's search against a scan of all rows, and galleries in files.

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::PathBuf;

use proptest::prelude::*;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;
use worker::kernels::Instructions;
use worker::vision::Gallery;
use worker::vision::gallery::search::{SearchPlan, squared_distance};
use worker::vision::gallery::{CODED_ROWS, Nearest};

/// Reproducible numbers from -1 to 1.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn vector(&mut self, dimension: usize, length: f32) -> Vec<f32> {
        let vector: Vec<f32> = (0..dimension).map(|_| self.next()).collect();
        let own = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
        vector.iter().map(|value| value * length / own).collect()
    }

    /// Returns a vector at about `distance` from `center`.
    fn near(&mut self, center: &[f32], distance: f32) -> Vec<f32> {
        let step = self.vector(center.len(), distance);
        center.iter().zip(step).map(|(at, by)| at + by).collect()
    }
}

/// The distribution of a gallery's rows.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Random,
    /// Of lengths from 0.001 to 1000.
    AllLengths,
    /// Twenty rows around each center, at this distance.
    Clustered(f32),
    /// All rows at this distance from one vector, which may be a few bits of float32.
    Close(f32),
    /// Seven rows, repeated.
    Duplicates,
    /// Zeros but for one number, whose square may leave float32.
    Extreme,
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Random),
        Just(Kind::AllLengths),
        (0.01f32..0.8).prop_map(Kind::Clustered),
        (-7i32..0).prop_map(|exponent| Kind::Close(10f32.powi(exponent))),
        Just(Kind::Duplicates),
        Just(Kind::Extreme),
    ]
}

/// Who the rows belong to.
#[derive(Debug, Clone, Copy)]
enum People {
    /// Three rows in a row each.
    Threes,
    /// This many, in turns.
    Few(usize),
    /// One, but for the last rows.
    LateOnes,
}

impl People {
    fn name(self, row: usize) -> String {
        match self {
            Self::Threes => format!("person {}", row / 3),
            Self::Few(count) => format!("person {}", row % count),
            Self::LateOnes => format!("person {}", row.saturating_sub(CODED_ROWS - 5)),
        }
    }
}

fn people() -> impl Strategy<Value = People> {
    prop_oneof![
        Just(People::Threes),
        (1usize..5).prop_map(People::Few),
        Just(People::LateOnes),
    ]
}

fn gallery(rows: usize, dimension: usize, kind: Kind, seed: u64) -> Gallery {
    gallery_of(People::Threes, rows, dimension, kind, seed)
}

fn gallery_of(people: People, rows: usize, dimension: usize, kind: Kind, seed: u64) -> Gallery {
    let mut numbers = Numbers(seed);
    let mut gallery = Gallery::new(dimension);
    let centers: Vec<_> = (0..rows.div_ceil(20))
        .map(|_| numbers.vector(dimension, 1.0))
        .collect();
    for row in 0..rows {
        let embedding = match kind {
            Kind::Random => numbers.vector(dimension, 1.0),
            Kind::AllLengths => {
                let length = 10f32.powf(3.0 * numbers.next());
                numbers.vector(dimension, length)
            }
            Kind::Clustered(distance) => numbers.near(&centers[row / 20], distance),
            Kind::Close(distance) => numbers.near(&centers[0], distance),
            Kind::Duplicates => centers[row % 7].clone(),
            Kind::Extreme => {
                let mut embedding = vec![0.0; dimension];
                embedding[row % dimension] =
                    [0.0, 1.0, -1e-30, 1e-16, 1e16, 1e-44, 3e38][row % 7] * numbers.next();
                embedding
            }
        };
        gallery.push(people.name(row), &embedding);
    }
    gallery
}

/// Returns queries on a row, near one, half-way between two, far from all, and some that have no code.
fn queries(gallery: &Gallery, seed: u64) -> Vec<Vec<f32>> {
    let mut numbers = Numbers(seed);
    let rows: Vec<_> = gallery.rows().map(|(_, row)| row).collect();
    let dimension = gallery.dimension();
    let mut queries = vec![
        vec![0.0; dimension],
        vec![1e-30; dimension],
        vec![3e38; dimension],
        numbers.vector(dimension, 1.0),
        numbers.vector(dimension, 30.0),
    ];
    for index in [0, rows.len() / 3, rows.len() - 1] {
        let (row, next) = (rows[index], rows[(index + 1) % rows.len()]);
        queries.push(row.to_vec());
        queries.push(numbers.near(row, 0.3));
        queries.push(numbers.near(row, 1e-6));
        queries.push(
            row.iter()
                .zip(next)
                .map(|(a, b)| a / 2.0 + b / 2.0)
                .collect(),
        );
    }
    queries
}

/// Returns row and distance of the nearest row of each of the three nearest identities.
fn brute_force(gallery: &Gallery, query: &[f32]) -> Vec<(usize, f32)> {
    let mut identities: HashMap<&str, (usize, f32)> = HashMap::new();
    for (row, (name, known)) in gallery.rows().enumerate() {
        let squared = squared_distance(known, query);
        let nearest = identities.entry(name).or_insert((row, squared));
        if squared < nearest.1 {
            *nearest = (row, squared);
        }
    }
    let mut nearest: Vec<_> = identities.into_values().collect();
    nearest.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    nearest.truncate(3);
    nearest
        .into_iter()
        .map(|(row, squared)| (row, squared.sqrt()))
        .collect()
}

fn plans() -> Vec<SearchPlan> {
    Instructions::available()
        .iter()
        .flat_map(|&instructions| {
            [1, 3].map(|threads| SearchPlan {
                threads,
                instructions,
            })
        })
        .collect()
}

fn assert_finds_what_brute_force_finds(gallery: &Gallery, queries: &[Vec<f32>]) {
    let names: Vec<&str> = gallery.rows().map(|(name, _)| name).collect();
    let assert_equal = |found: &[Nearest<'_>], expected: &[(usize, f32)], how: &dyn Debug| {
        let rows: Vec<_> = found.iter().map(|it| (it.row, it.distance)).collect();
        assert_eq!(rows, expected, "{how:?}");
        assert!(found.iter().all(|it| it.name == names[it.row]), "{how:?}");
    };
    for query in queries {
        let expected = brute_force(gallery, query);
        let nearest = gallery.nearest(query).expect("rows");
        assert_equal(&[nearest], &expected[..1], &"nearest");
        for count in [0, 1, 2, 3, 9] {
            let found = gallery.nearest_identities(query, count);
            let first = &expected[..count.min(expected.len())];
            assert_equal(&found, first, &count);
        }
        for plan in plans() {
            let nearest = gallery.nearest_identities_by(query, 1, plan);
            assert_equal(&nearest, &expected[..1], &plan);
            let found = gallery.nearest_identities_by(query, 3, plan);
            assert_equal(&found, &expected, &plan);
        }
    }
}

struct File {
    folder: TempDir,
}

impl File {
    fn of(gallery: &Gallery) -> Self {
        let file = Self {
            folder: TempDir::new().expect("a temporary folder"),
        };
        gallery.save(&file.path()).expect("it can be written");
        file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("gallery.safetensors")
    }

    fn load(&self) -> Gallery {
        Gallery::load(&self.path()).expect("it can be read")
    }

    fn reason(&self) -> String {
        Gallery::load(&self.path())
            .expect_err("it cannot be used")
            .to_string()
    }

    /// Rewrites the file after `change` of each tensor, without those that become `None`.
    fn change(&self, change: impl Fn(&str, &mut Vec<usize>, &mut Vec<u8>) -> Option<Dtype>) {
        let bytes = std::fs::read(self.path()).expect("a file");
        let (_, metadata) = SafeTensors::read_metadata(&bytes).expect("a header");
        let mut tensors = Vec::new();
        for (name, view) in SafeTensors::deserialize(&bytes).expect("tensors").tensors() {
            let (mut shape, mut data) = (view.shape().to_vec(), view.data().to_vec());
            if let Some(dtype) = change(&name, &mut shape, &mut data) {
                tensors.push((name, dtype, shape, data));
            }
        }
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (
                name,
                TensorView::new(*dtype, shape.clone(), data).expect("a tensor"),
            )
        });
        let names: Option<HashMap<_, _>> = metadata.metadata().clone();
        let file = safetensors::serialize(views, names).expect("a file");
        std::fs::write(self.path(), file).expect("it can be written");
    }

    fn without_codes(self) -> Self {
        self.change(|name, _, _| (name != "codes").then_some(Dtype::F32));
        self
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_search_finds_what_brute_force_finds(
        extra in 0usize..200,
        dimension in prop_oneof![Just(1), Just(3), Just(20), Just(100), Just(128), Just(131)],
        kind in kinds(),
        people in people(),
        seed in any::<u64>(),
    ) {
        let gallery = gallery_of(people, CODED_ROWS + extra, dimension, kind, seed);
        let queries = queries(&gallery, !seed);
        assert_finds_what_brute_force_finds(&gallery, &queries);
        let file = File::of(&gallery);
        assert_finds_what_brute_force_finds(&file.load(), &queries[3..6]);
        assert_finds_what_brute_force_finds(&file.without_codes().load(), &queries[3..6]);
    }
}

#[test]
fn small_galleries_and_512_dimensions_work_too() {
    for (rows, dimension) in [
        (1, 128),
        (5, 128),
        (93, 128),
        (CODED_ROWS - 1, 7),
        (2000, 512),
    ] {
        let gallery = gallery(rows, dimension, Kind::Random, 5);
        assert_finds_what_brute_force_finds(&gallery, &queries(&gallery, 6));
    }
}

#[test]
fn several_threads_find_the_first_of_equal_rows() {
    let mut gallery = gallery(60_000, 128, Kind::Clustered(0.5), 7);
    let twin = gallery.rows().nth(59_000).unwrap().1.to_vec();
    gallery.push("a late twin", &twin);
    let mut asked = queries(&gallery, 8);
    asked.truncate(9);
    asked.push(twin.clone());
    assert_finds_what_brute_force_finds(&gallery, &asked);
    assert_eq!(gallery.nearest(&twin).unwrap().row, 59_000);
}

#[test]
fn distances_are_euclidean() {
    let mut numbers = Numbers(9);
    for dimension in [1, 15, 16, 17, 128, 512] {
        let (a, b) = (
            numbers.vector(dimension, 1.0),
            numbers.vector(dimension, 1.0),
        );
        let exact: f64 = a
            .iter()
            .zip(&b)
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
            .sum();
        assert!((f64::from(squared_distance(&a, &b)) - exact).abs() < 1e-5);
    }
}

#[test]
fn a_first_row_of_nan_is_the_nearest() {
    let mut gallery = Gallery::new(4);
    gallery.push("NaN", &[f32::NAN; 4]);
    for _ in 0..CODED_ROWS {
        gallery.push("finite", &[0.5; 4]);
    }
    let nearest = gallery.nearest(&[0.5; 4]).unwrap();
    assert_eq!(nearest.row, 0);
    assert!(nearest.distance.is_nan());
    let found = gallery.nearest_identities(&[0.5; 4], 3);
    assert_eq!((found.len(), found[0].row, found[1].row), (2, 0, 1));
}

#[test]
fn a_large_gallery_is_read_with_or_without_codes() {
    let gallery = gallery(CODED_ROWS + 5, 20, Kind::Random, 10);
    let file = File::of(&gallery);
    assert_eq!(file.load(), gallery);
    let file = file.without_codes();
    assert_eq!(file.load(), gallery);
    file.load().save(&file.path()).unwrap();
    let bytes = std::fs::read(file.path()).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let blocks = (CODED_ROWS + 5).div_ceil(16);
    assert_eq!(
        tensors.tensor("codes").unwrap().shape(),
        [blocks, 192 + 3 * 64]
    );
}

#[test]
fn rows_can_be_added_to_a_gallery_from_a_file() {
    let mut loaded = File::of(&gallery(CODED_ROWS + 5, 20, Kind::Random, 11)).load();
    let (before, row) = (loaded.clone(), Numbers(12).vector(20, 1.0));
    loaded.push("another", &row);
    assert_ne!(loaded, before);
    assert_eq!(before.len() + 1, loaded.len());
    assert_eq!(loaded.nearest(&row).unwrap().name, "another");
    assert_finds_what_brute_force_finds(&loaded, &queries(&loaded, 13));
}

#[test]
fn codes_that_could_hide_a_row_are_refused() {
    let gallery = gallery(CODED_ROWS, 8, Kind::Random, 14);
    let expected = "[64, 256]";
    let same = |name: &str| {
        Some(if name == "codes" {
            Dtype::U8
        } else {
            Dtype::F32
        })
    };

    let file = File::of(&gallery);
    file.change(|name, shape, data| {
        if name == "codes" {
            shape[0] -= 1;
            data.truncate(63 * 256);
        }
        same(name)
    });
    let reason = file.reason();
    assert!(
        reason.contains("codes is U8 [63, 256], expected uint8 [64, 256]"),
        "{reason}"
    );

    let file = File::of(&gallery);
    file.change(|name, shape, _| {
        if name == "codes" {
            shape[1] /= 4;
        }
        Some(Dtype::F32)
    });
    let reason = file.reason();
    assert!(
        reason.contains("codes is F32 [64, 64], expected uint8 [64, 256]"),
        "{reason}"
    );

    // A scale, an error bound and a code.
    for byte in [3, 131, 200, 64 * 256 - 1] {
        let file = File::of(&gallery);
        file.change(|name, _, data| {
            if name == "codes" {
                data[byte] ^= 1;
            }
            same(name)
        });
        let reason = file.reason();
        assert!(
            reason.contains("codes is damaged") && reason.contains(expected),
            "{reason}"
        );
    }

    let file = File::of(&gallery);
    file.change(|name, _, data| {
        if name == "embeddings" {
            data[4000..4004].copy_from_slice(&f32::INFINITY.to_le_bytes());
        }
        same(name)
    });
    assert!(
        file.reason()
            .contains("embeddings holds numbers that are not finite")
    );
    assert!(file.without_codes().reason().contains("not finite"));
}
