//! A state dict: tensors by name, each to be used. It may be a part of a checkpoint.

use std::collections::{BTreeSet, HashMap};

use super::pickle::{Tensor, Value, shown};
use super::torch_file::{TensorProblem, TorchFile};
use super::{ContentError, list};

/// Keys under which training scripts keep a state dict beside an epoch, an optimizer and the like.
const WRAPPERS: [&str; 4] = ["state_dict", "model_state_dict", "model", "net"];
/// What `DataParallel`, `torch.compile` and a module around the network put in front of its tensors' names.
const PREFIXES: [&str; 4] = ["module.", "_orig_mod.", "model.", "net."];
/// Wrappers within wrappers; a damaged file may put a dict into itself.
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
                return Err(problem(name, TensorProblem::Twice));
            }
        }
        let unused = values.keys().copied().collect();
        Ok(Self {
            file,
            values,
            unused,
        })
    }

    /// Lets tensors whose names begin like this be left over.
    pub fn ignore(&mut self, prefix: &str) {
        self.unused.retain(|name| !name.starts_with(prefix));
    }

    /// The first size of a matrix with so many columns.
    pub fn rows(&self, name: &str, columns: usize) -> Result<usize, ContentError> {
        let expected = format!("[embedding size, {columns}]");
        let tensor = self.tensor(name, &expected)?;
        match tensor.shape[..] {
            [rows, found] if rows > 0 && found == columns => Ok(rows),
            _ => Err(wrong_shape(name, tensor, expected)),
        }
    }

    /// A vector, or another tensor in row-major order.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ContentError> {
        let order: Vec<usize> = (0..shape.len()).collect();
        self.take_permuted(name, shape, &order)
    }

    /// A convolution's kernel of shape [out, in, height, width] in the order [out, height, width, in].
    pub fn take_kernel(&mut self, name: &str, shape: [usize; 4]) -> Result<Vec<f32>, ContentError> {
        self.take_permuted(name, &shape, &[0, 2, 3, 1])
    }

    /// # Errors
    /// When a tensor was neither taken nor ignored.
    pub fn finish(self) -> Result<(), ContentError> {
        if self.unused.is_empty() {
            return Ok(());
        }
        let tensors = self.unused.into_iter().map(shown).collect();
        Err(ContentError::LeftOver { tensors })
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
        values.map_err(|found| problem(name, found))
    }

    fn tensor(&self, name: &str, expected: &str) -> Result<&'a Tensor, ContentError> {
        let Some(&value) = self.values.get(name) else {
            let expected = expected.to_owned();
            return Err(problem(name, TensorProblem::Missing { expected }));
        };
        let found = value.kind();
        let tensor = self.file.objects.tensor(value);
        tensor.ok_or_else(|| problem(name, TensorProblem::NotATensor { found }))
    }
}

fn without_prefixes(mut name: &str) -> &str {
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        name = rest;
    }
    name
}

/// What a file, or the part of it at a path of keys, holds instead of a state dict.
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
    problem(name, TensorProblem::Shape { found, expected })
}

pub fn problem(tensor: &str, problem: TensorProblem) -> ContentError {
    ContentError::Tensor {
        tensor: tensor.to_owned(),
        problem,
    }
}
