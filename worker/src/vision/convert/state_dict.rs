//! A state dict: tensors by name, each to be used.

use std::collections::{BTreeSet, HashMap};

use super::ContentError;
use super::pickle::{Tensor, Value};
use super::torch_file::{TensorProblem, TorchFile};

#[derive(Debug)]
pub struct StateDict<'a> {
    file: &'a TorchFile<'a>,
    values: HashMap<&'a str, Value<'a>>,
    unused: BTreeSet<&'a str>,
}

impl<'a> StateDict<'a> {
    pub fn of(file: &'a TorchFile<'a>) -> Result<Self, ContentError> {
        let not_a_state_dict = |value: Value<'_>| ContentError::NotAStateDict {
            found: value.kind(),
        };
        let entries = file.objects.entries(file.root);
        let mut values = HashMap::new();
        for &[name, value] in entries.ok_or_else(|| not_a_state_dict(file.root))? {
            let Value::Text(name) = name else {
                return Err(not_a_state_dict(file.root));
            };
            values.insert(name, value);
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
        let tensors = self.unused.into_iter().map(str::to_owned).collect();
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
