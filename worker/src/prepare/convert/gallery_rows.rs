//! Galleries from the `[embeddings, names]` list that classroom deployments keep as `data.pt`.

use super::error::ContentError;
use super::pickle::Value;
use super::torch_file::{TensorProblem, TorchFile};
use crate::vision::Gallery;

/// Within this difference from length 1 an embedding is kept as it is.
const ROUNDING: f64 = 1e-6;
/// Within this difference, as from half precision, it is normalized. Beyond it the row is not an embedding.
const DRIFT: f64 = 1e-2;

pub fn gallery(file: &TorchFile<'_>) -> Result<Gallery, ContentError> {
    let objects = &file.objects;
    let elements = objects.elements(file.root);
    let Some(&[embeddings, names]) = elements else {
        return Err(not_a_gallery(file.root.kind()));
    };
    let Some(names) = objects.elements(names) else {
        return Err(not_a_gallery(&format!("{} as names", names.kind())));
    };
    let rows = rows(file, embeddings)?;
    if rows.len() != names.len() {
        return Err(ContentError::Unpaired {
            embeddings: rows.len(),
            names: names.len(),
        });
    }
    let dimension = rows.first().map_or(0, Vec::len);
    if dimension == 0 {
        return Err(ContentError::Empty);
    }
    let mut gallery = Gallery::new(dimension);
    for (row, (&name, embedding)) in names.iter().zip(rows).enumerate() {
        let Value::Text(name) = name else {
            let found = format!("{} as the name at index {row}", name.kind());
            return Err(not_a_gallery(&found));
        };
        gallery.push(name, &unit(row, name, embedding)?);
    }
    Ok(gallery)
}

fn rows(file: &TorchFile<'_>, embeddings: Value<'_>) -> Result<Vec<Vec<f32>>, ContentError> {
    if let Some(tensor) = file.objects.tensor(embeddings) {
        let named = |found| ContentError::of_tensor("embeddings", found);
        let &[_, dimension] = tensor.shape.as_slice() else {
            return Err(named(shape(&tensor.shape, "[rows, dimension]")));
        };
        let values = file.values(tensor).map_err(named)?;
        let rows = values.chunks_exact(dimension.max(1));
        return Ok(rows.map(<[f32]>::to_vec).collect());
    }
    let Some(embeddings) = file.objects.elements(embeddings) else {
        return Err(not_a_gallery(&format!(
            "{} as embeddings",
            embeddings.kind()
        )));
    };
    let mut rows: Vec<Vec<f32>> = Vec::new();
    let mut numbers = 0;
    for (row, &value) in embeddings.iter().enumerate() {
        let dimension = rows.first().map(Vec::len);
        let embedding = embedding(file, value, dimension);
        let embedding = embedding
            .map_err(|found| ContentError::of_tensor(&format!("embeddings[{row}]"), found))?;
        numbers += embedding.len();
        // Entries may share a tensor. The bound keeps a small file from expanding enormously.
        if numbers > file.length {
            return Err(ContentError::of_tensor(
                "embeddings",
                TensorProblem::LargerThanFile,
            ));
        }
        rows.push(embedding);
    }
    Ok(rows)
}

/// Returns a row from a tensor [1, D] or [D], where D is the dimension of the first row.
fn embedding(
    file: &TorchFile<'_>,
    value: Value<'_>,
    dimension: Option<usize>,
) -> Result<Vec<f32>, TensorProblem> {
    let not_a_tensor = || TensorProblem::NotATensor {
        found: value.kind(),
    };
    let tensor = file.objects.tensor(value).ok_or_else(not_a_tensor)?;
    match (tensor.shape.as_slice(), dimension) {
        (&[found] | &[1, found], None) if found > 0 => file.values(tensor),
        (&[found] | &[1, found], Some(expected)) if found == expected => file.values(tensor),
        (found, Some(expected)) => Err(shape(found, &format!("[1, {expected}]"))),
        (found, None) => Err(shape(found, "[1, dimension]")),
    }
}

fn unit(row: usize, name: &str, mut embedding: Vec<f32>) -> Result<Vec<f32>, ContentError> {
    let squares = embedding.iter().map(|&value| f64::from(value).powi(2));
    let length = squares.sum::<f64>().sqrt();
    let drift = (length - 1.0).abs();
    // NaN fails both comparisons.
    if drift <= ROUNDING {
        Ok(embedding)
    } else if drift <= DRIFT {
        for value in &mut embedding {
            *value = (f64::from(*value) / length) as f32;
        }
        Ok(embedding)
    } else {
        Err(ContentError::NotUnit {
            row,
            name: name.to_owned(),
            length,
        })
    }
}

fn shape(found: &[usize], expected: &str) -> TensorProblem {
    TensorProblem::Shape {
        found: found.to_vec(),
        expected: expected.to_owned(),
    }
}

fn not_a_gallery(found: &str) -> ContentError {
    ContentError::NotAGallery {
        found: found.to_owned(),
    }
}
