//! A state dict of torch: tensors by name, each to be used. It may be part of a checkpoint.

use std::collections::{BTreeSet, HashMap};

use super::error::{ContentError, list};
use super::fold::{BatchNorm, Source};
use super::layers::{FEATURES, Layer};
use super::pickle::{Tensor, Value, shown};
use super::torch_file::{TensorProblem, TorchFile};

/// Keys under which training scripts keep a state dict beside an epoch, an optimizer and so on.
const WRAPPERS: [&str; 4] = ["state_dict", "model_state_dict", "model", "net"];
/// Prefixes of names by `DataParallel`, `torch.compile` and modules around the network.
const PREFIXES: [&str; 4] = ["module.", "_orig_mod.", "model.", "net."];
const DENSE: &str = "last_linear.weight";
/// The classifier on top of the embedding, which recognition by distance does not need.
const CLASSIFIER: &str = "logits.";
/// Most wrappers within wrappers; a damaged file may put a dict into itself.
const MAX_WRAPPERS: usize = 4;

#[derive(Debug)]
pub struct StateDict<'a> {
    file: &'a TorchFile<'a>,
    /// By name without prefix.
    values: HashMap<&'a str, Value<'a>>,
    unused: BTreeSet<&'a str>,
}

impl<'a> StateDict<'a> {
    pub fn of(file: &'a TorchFile<'a>) -> Result<Self, ContentError> {
        let objects = &file.objects;
        let mut root = file.root;
        let mut path = Vec::new();
        while path.len() < MAX_WRAPPERS {
            let inner = |&key: &&'static str| {
                let value = objects.get(root, key)?;
                objects.entries(value).map(|_| (key, value))
            };
            let Some((key, value)) = WRAPPERS.iter().find_map(inner) else {
                break;
            };
            path.push(key);
            root = value;
        }
        let not_a_state_dict = || ContentError::NotAStateDict {
            found: describe(file, root, &path),
        };
        let entries = objects.entries(root).ok_or_else(not_a_state_dict)?;
        let is_tensor = |&[_, value]: &[Value<'_>; 2]| objects.tensor(value).is_some();
        if !entries.iter().any(is_tensor) {
            return Err(not_a_state_dict());
        }
        let mut values = HashMap::new();
        for &[name, value] in entries {
            let Value::Text(name) = name else {
                let found = format!("a dict with {} as a key", name.kind());
                return Err(ContentError::NotAStateDict { found });
            };
            let name = without_prefixes(name);
            if values.insert(name, value).is_some() {
                return Err(ContentError::of_tensor(name, TensorProblem::Twice));
            }
        }
        let unused = values.keys().copied().collect();
        Ok(Self {
            file,
            values,
            unused,
        })
    }

    /// Returns the names of the tensors that were not taken yet.
    pub fn names(&self) -> Vec<&'a str> {
        self.unused.iter().copied().collect()
    }

    pub fn shape(&self, name: &str) -> Result<&'a [usize], ContentError> {
        Ok(&self.tensor(name, "a tensor")?.shape)
    }

    /// Takes a tensor in row-major order.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ContentError> {
        let order: Vec<usize> = (0..shape.len()).collect();
        self.take_permuted(name, shape, &order)
    }

    /// Takes a convolution's kernel of shape [out, in, height, width] in the order [out, height, width, in].
    pub fn take_kernel(&mut self, name: &str, shape: [usize; 4]) -> Result<Vec<f32>, ContentError> {
        self.take_permuted(name, &shape, &[0, 2, 3, 1])
    }

    fn take_permuted(
        &mut self,
        name: &str,
        shape: &[usize],
        axes: &[usize],
    ) -> Result<Vec<f32>, ContentError> {
        let expected = format!("{shape:?}");
        let tensor = self.tensor(name, &expected)?;
        if tensor.shape != shape {
            return Err(wrong_shape(name, tensor, expected));
        }
        let values = self.file.values(&tensor.permuted(axes));
        self.unused.remove(name);
        values.map_err(|found| ContentError::of_tensor(name, found))
    }

    fn tensor(&self, name: &str, expected: &str) -> Result<&'a Tensor, ContentError> {
        let Some(&value) = self.values.get(name) else {
            let expected = expected.to_owned();
            return Err(ContentError::of_tensor(
                name,
                TensorProblem::Missing { expected },
            ));
        };
        let found = value.kind();
        let tensor = self.file.objects.tensor(value);
        tensor.ok_or_else(|| ContentError::of_tensor(name, TensorProblem::NotATensor { found }))
    }
}

impl Source for StateDict<'_> {
    fn embedding_size(&self) -> Result<usize, ContentError> {
        let expected = format!("[embedding size, {FEATURES}]");
        let tensor = self.tensor(DENSE, &expected)?;
        match tensor.shape[..] {
            [size, FEATURES] if size > 0 => Ok(size),
            _ => Err(wrong_shape(DENSE, tensor, expected)),
        }
    }

    fn kernel(&mut self, layer: &Layer) -> Result<Vec<f32>, ContentError> {
        let [outputs, height, width, inputs] = layer.shape;
        if layer.kernel == DENSE {
            self.take(DENSE, &[outputs, inputs])
        } else {
            self.take_kernel(&layer.kernel, [outputs, inputs, height, width])
        }
    }

    fn bias(&mut self, layer: &Layer) -> Result<Vec<f32>, ContentError> {
        self.take(&format!("{}.bias", layer.name), &layer.shape[..1])
    }

    fn batch_norm(&mut self, layer: &Layer, norm: &str) -> Result<BatchNorm, ContentError> {
        // A count of training steps, which files of torch before 0.4.1 lack.
        self.unused.remove(&*format!("{norm}.num_batches_tracked"));
        let mut vector = |name: &str| self.take(&format!("{norm}.{name}"), &layer.shape[..1]);
        Ok(BatchNorm {
            gamma: vector("weight")?,
            beta: vector("bias")?,
            mean: vector("running_mean")?,
            variance: vector("running_var")?,
        })
    }

    fn finish(self) -> Result<(), ContentError> {
        let left = self
            .unused
            .into_iter()
            .filter(|name| !name.starts_with(CLASSIFIER));
        let tensors: Vec<String> = left.map(shown).collect();
        if tensors.is_empty() {
            return Ok(());
        }
        Err(ContentError::LeftOver { tensors })
    }
}

fn without_prefixes(mut name: &str) -> &str {
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

/// Describes a value that is not a state dict; `path` has the keys that lead to it.
fn describe(file: &TorchFile<'_>, value: Value<'_>, path: &[&str]) -> String {
    let entry = |&[key, value]: &[Value<'_>; 2]| match key {
        Value::Text(key) => format!("{} ({})", shown(key), value.kind()),
        key => format!("{} as key ({})", key.kind(), value.kind()),
    };
    let content = match file.objects.entries(value) {
        None => value.kind().to_owned(),
        Some([]) => "an empty dict".to_owned(),
        Some(entries) => format!("a dict of {}", list(entries.iter().map(entry))),
    };
    match path {
        [] => content,
        path => format!("{content} under {}", path.join(".")),
    }
}

fn wrong_shape(name: &str, tensor: &Tensor, expected: String) -> ContentError {
    let found = tensor.shape.clone();
    ContentError::of_tensor(name, TensorProblem::Shape { found, expected })
}
