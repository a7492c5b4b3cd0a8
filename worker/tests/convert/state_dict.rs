//! A state dict of facenet-pytorch's `InceptionResnetV1` with made-up numbers: multiples of 1/256, which every floating
//! point type holds exactly.

use half::f16;

use crate::torch_save::{Object, Saved, Storage, Tensor};

/// Numbers from which the tensors' values are taken: more than the largest tensor but one (the classifier) has.
const NUMBERS: usize = 1_000_000;
const VARIANCES: usize = 2048;
const NUMBERS_STORAGE: usize = 0;
const VARIANCES_STORAGE: usize = 1;
const COUNTS_STORAGE: usize = 2;

/// The tensors are views of three shared storages.
#[derive(Debug, Clone)]
pub struct StateDict {
    pub tensors: Vec<(String, Tensor)>,
    numbers: Vec<f32>,
    variances: Vec<f32>,
}

impl StateDict {
    pub fn of(embedding_size: usize) -> Self {
        let numbers = (0..NUMBERS as u64).map(|index| {
            let mixed = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
            (mixed as f32 - 128.0) / 256.0
        });
        let variances = (0..VARIANCES).map(|index| (26 + index * 37 % 230) as f32 / 256.0);
        let mut made = Self {
            tensors: Vec::new(),
            numbers: numbers.collect(),
            variances: variances.collect(),
        };
        made.layers(embedding_size);
        made
    }

    fn layers(&mut self, embedding_size: usize) {
        self.basics(
            "",
            &[("conv2d_1a", 3, 32, 3, 3), ("conv2d_2a", 32, 32, 3, 3)],
        );
        self.basics(
            "",
            &[("conv2d_2b", 32, 64, 3, 3), ("conv2d_3b", 64, 80, 1, 1)],
        );
        self.basics(
            "",
            &[("conv2d_4a", 80, 192, 3, 3), ("conv2d_4b", 192, 256, 3, 3)],
        );
        for index in 0..5 {
            let block = format!("repeat_1.{index}");
            self.basics(&block, &[(".branch0", 256, 32, 1, 1)]);
            self.basics(
                &block,
                &[(".branch1.0", 256, 32, 1, 1), (".branch1.1", 32, 32, 3, 3)],
            );
            self.basics(
                &block,
                &[(".branch2.0", 256, 32, 1, 1), (".branch2.1", 32, 32, 3, 3)],
            );
            self.basics(&block, &[(".branch2.2", 32, 32, 3, 3)]);
            self.up(&block, 96, 256);
        }
        let block = "mixed_6a";
        self.basics(
            block,
            &[(".branch0", 256, 384, 3, 3), (".branch1.0", 256, 192, 1, 1)],
        );
        self.basics(
            block,
            &[
                (".branch1.1", 192, 192, 3, 3),
                (".branch1.2", 192, 256, 3, 3),
            ],
        );
        for index in 0..10 {
            let block = format!("repeat_2.{index}");
            self.basics(
                &block,
                &[(".branch0", 896, 128, 1, 1), (".branch1.0", 896, 128, 1, 1)],
            );
            self.basics(
                &block,
                &[
                    (".branch1.1", 128, 128, 1, 7),
                    (".branch1.2", 128, 128, 7, 1),
                ],
            );
            self.up(&block, 256, 896);
        }
        let block = "mixed_7a";
        self.basics(
            block,
            &[
                (".branch0.0", 896, 256, 1, 1),
                (".branch0.1", 256, 384, 3, 3),
            ],
        );
        self.basics(
            block,
            &[
                (".branch1.0", 896, 256, 1, 1),
                (".branch1.1", 256, 256, 3, 3),
            ],
        );
        self.basics(
            block,
            &[
                (".branch2.0", 896, 256, 1, 1),
                (".branch2.1", 256, 256, 3, 3),
            ],
        );
        self.basics(block, &[(".branch2.2", 256, 256, 3, 3)]);
        let last = (0..5).map(|index| format!("repeat_3.{index}"));
        for block in last.chain(["block8".to_owned()]) {
            self.basics(
                &block,
                &[
                    (".branch0", 1792, 192, 1, 1),
                    (".branch1.0", 1792, 192, 1, 1),
                ],
            );
            self.basics(
                &block,
                &[
                    (".branch1.1", 192, 192, 1, 3),
                    (".branch1.2", 192, 192, 3, 1),
                ],
            );
            self.up(&block, 384, 1792);
        }
        self.push("last_linear.weight", &[embedding_size, 1792]);
        self.norm("last_bn", embedding_size);
    }

    fn basics(&mut self, block: &str, convolutions: &[(&str, usize, usize, usize, usize)]) {
        for &(name, inputs, outputs, height, width) in convolutions {
            let kernel = [outputs, inputs, height, width];
            self.push(&format!("{block}{name}.conv.weight"), &kernel);
            self.norm(&format!("{block}{name}.bn"), outputs);
        }
    }

    fn up(&mut self, block: &str, inputs: usize, outputs: usize) {
        self.push(&format!("{block}.conv2d.weight"), &[outputs, inputs, 1, 1]);
        self.push(&format!("{block}.conv2d.bias"), &[outputs]);
    }

    fn norm(&mut self, name: &str, channels: usize) {
        for part in ["weight", "bias", "running_mean", "running_var"] {
            self.push(&format!("{name}.{part}"), &[channels]);
        }
        let count = Tensor::of(COUNTS_STORAGE, 0, &[]);
        let name = format!("{name}.num_batches_tracked");
        self.tensors.push((name, count));
    }

    /// Adds a tensor; each begins elsewhere in the shared numbers.
    pub fn push(&mut self, name: &str, shape: &[usize]) {
        let (storage, length) = if name.ends_with("running_var") {
            (VARIANCES_STORAGE, VARIANCES)
        } else {
            (NUMBERS_STORAGE, NUMBERS)
        };
        let count: usize = shape.iter().product();
        assert!(count <= length, "{name} fits into the shared numbers");
        let offset = self.tensors.len() * 97 % (length - count + 1);
        let tensor = Tensor::of(storage, offset, shape);
        self.tensors.push((name.to_owned(), tensor));
    }

    pub fn tensor(&mut self, name: &str) -> &mut Tensor {
        let mut tensors = self.tensors.iter_mut();
        let found = tensors.find(|(other, _)| other == name);
        &mut found.expect("a tensor of this name").1
    }

    pub fn remove(&mut self, name: &str) {
        self.tensors.retain(|(other, _)| other != name);
    }

    /// The values of a tensor that was not changed, in row-major order.
    pub fn values(&self, name: &str) -> &[f32] {
        let (_, tensor) = self
            .tensors
            .iter()
            .find(|(other, _)| other == name)
            .expect("a tensor of this name");
        let numbers = if tensor.storage == NUMBERS_STORAGE {
            &self.numbers
        } else {
            &self.variances
        };
        &numbers[tensor.offset..][..tensor.shape.iter().product()]
    }

    /// Unchanged: a small file.
    pub fn shared(&self) -> Saved {
        let storages = vec![
            Storage::float(&self.numbers),
            Storage::float(&self.variances),
            counts(),
        ];
        self.saved(storages)
    }

    /// In half precision, except the variances, which are in double precision.
    pub fn other_precisions(&self) -> Saved {
        let halves = self
            .numbers
            .iter()
            .flat_map(|&value| f16::from_f32(value).to_le_bytes());
        let doubles = self
            .variances
            .iter()
            .flat_map(|&value| f64::from(value).to_le_bytes());
        let storages = vec![
            Storage::new("HalfStorage", NUMBERS, halves.collect()),
            Storage::new("DoubleStorage", VARIANCES, doubles.collect()),
            counts(),
        ];
        self.saved(storages)
    }

    /// In numbers of two bytes: `class` holds what `convert` makes.
    pub fn in_two_bytes(&self, class: &'static str, convert: fn(f32) -> [u8; 2]) -> Saved {
        let storage = |values: &[f32]| {
            let bytes = values.iter().flat_map(|&value| convert(value));
            Storage::new(class, values.len(), bytes.collect())
        };
        let storages = vec![storage(&self.numbers), storage(&self.variances), counts()];
        self.saved(storages)
    }

    fn saved(&self, storages: Vec<Storage>) -> Saved {
        let entry =
            |(name, tensor): &(String, Tensor)| (name.clone(), Object::Tensor(tensor.clone()));
        Saved {
            root: Object::StateDict(self.tensors.iter().map(entry).collect()),
            storages,
        }
    }

    /// Each tensor with a storage of its own, as in the published files, and with their classifier of 8631 people.
    pub fn separate(&self) -> Saved {
        let mut saved = self.shared();
        let shared = std::mem::take(&mut saved.storages);
        let Object::StateDict(entries) = &mut saved.root else {
            unreachable!("a state dict was made");
        };
        for (_, object) in entries.iter_mut() {
            let Object::Tensor(tensor) = object else {
                unreachable!("only tensors were made");
            };
            let whole = &shared[tensor.storage];
            let size = whole.bytes.len() / whole.count;
            let count: usize = tensor.shape.iter().product();
            let bytes = whole.bytes[tensor.offset * size..][..count * size].to_vec();
            (tensor.storage, tensor.offset) = (saved.storages.len(), 0);
            saved.storages.push(Storage::new(whole.class, count, bytes));
        }
        for (name, shape) in [
            ("logits.weight", vec![8631, 512]),
            ("logits.bias", vec![8631]),
        ] {
            let count: usize = shape.iter().product();
            let tensor = Tensor::of(saved.storages.len(), 0, &shape);
            entries.push((name.to_owned(), Object::Tensor(tensor)));
            saved
                .storages
                .push(Storage::new("FloatStorage", count, vec![0; 4 * count]));
        }
        saved
    }
}

fn counts() -> Storage {
    Storage::new("LongStorage", 1, 900_000i64.to_le_bytes().to_vec())
}
