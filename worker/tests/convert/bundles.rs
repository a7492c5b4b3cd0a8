//! State dicts.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::{Value, json};
use tempfile::TempDir;
use worker::kernels::panels::PANEL;
use worker::prepare::convert::{
    BundleOptions, ContentError, ConvertError, DetectorSource, TensorProblem, convert_state_dict,
};
use worker::vision::crop::FaceCrop;
use worker::vision::{Gallery, Precision};

use crate::common;
use crate::state_dict::StateDict;
use crate::torch_save::{Saved, Storage, Tensor};

/// A folder with another bundle, whose detector is copied, and room for files.
pub struct Workspace {
    folder: TempDir,
}

impl Workspace {
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let other = folder.path().join("other");
        fs::create_dir(&other).expect("a new folder");
        for name in ["p", "r", "o"] {
            fs::write(other.join(format!("{name}.weights")), name).expect("it can be written");
        }
        let description = json!({
            "format": 1, "name": "other", "embedding_size": 128, "input_size": 160,
            "preprocessing": "per_image_standardised", "crop_margin": 0, "threshold": 1.0,
            "embedder": "e.weights", "pnet": "p.weights", "rnet": "r.weights", "onet": "o.weights", "source": "",
        });
        fs::write(other.join("bundle.json"), description.to_string()).expect("it can be written");
        Self { folder }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Converts a file with this content.
    pub fn convert(&self, file: &[u8]) -> Result<(), ConvertError> {
        let path = self.folder.path().join("weights.pt");
        fs::write(&path, file).expect("it can be written");
        let options = BundleOptions {
            name: "mine".to_owned(),
            threshold: 1.1,
            detector: DetectorSource::Bundle(self.folder.path().join("other")),
            source: None,
        };
        convert_state_dict(&path, &self.out(), &options).map(|_| ())
    }

    pub fn embedder(&self, file: &[u8]) -> Vec<u8> {
        self.convert(file).expect("a state dict");
        fs::read(self.out().join("embedder.safetensors")).expect("it was written")
    }

    pub fn refused(&self, saved: &Saved) -> ContentError {
        self.content_error(&saved.zip())
    }

    pub fn reason(&self, file: &[u8]) -> String {
        self.content_error(file).to_string()
    }

    fn content_error(&self, file: &[u8]) -> ContentError {
        let error = self.convert(file).expect_err("it cannot be used");
        assert!(!self.out().exists(), "nothing is written");
        match error {
            ConvertError::Content { reason, .. } => reason,
            other => panic!("{other}"),
        }
    }
}

/// Returns a tensor's values from a bundle's file.
fn tensor(file: &SafeTensors<'_>, name: &str, shape: &[usize]) -> Vec<f32> {
    let view = file.tensor(name).unwrap_or_else(|_| panic!("no {name}"));
    assert_eq!(view.shape(), shape, "{name}");
    let words = view.data().as_chunks().0;
    words.iter().map(|&word| f32::from_le_bytes(word)).collect()
}

/// Compares a layer with the formula, element by element: the file has [panel, height, width, in, 32], the state dict
/// [out, in, height, width].
fn check_layer(
    file: &SafeTensors<'_>,
    weights: &StateDict,
    layer: &str,
    [outputs, height, width, inputs]: [usize; 4],
    factor_and_bias: impl Fn(usize) -> (f64, f64),
) {
    let panels = outputs.div_ceil(PANEL);
    let shape = [panels, height, width, inputs, PANEL];
    let found = tensor(file, &format!("{layer}.weight"), &shape);
    let bias = tensor(file, &format!("{layer}.bias"), &[outputs]);
    let is_basic = layer != "last_linear" && !layer.ends_with("conv2d");
    let kernel = weights.values(&format!(
        "{layer}{}.weight",
        if is_basic { ".conv" } else { "" }
    ));
    let near =
        |found: f32, expected: f64| (f64::from(found) - expected).abs() <= 1e-6 * expected.abs();
    for (output, &found) in bias.iter().enumerate() {
        let (_, expected) = factor_and_bias(output);
        assert!(near(found, expected), "{layer}.bias[{output}]");
    }
    let area = height * width;
    for (index, &found) in found.iter().enumerate() {
        let (input, tap) = (index / PANEL % inputs, index / PANEL / inputs % area);
        let output = index / (PANEL * inputs * area) * PANEL + index % PANEL;
        let expected = if output < outputs {
            f64::from(kernel[(output * inputs + input) * area + tap]) * factor_and_bias(output).0
        } else {
            0.0
        };
        assert!(near(found, expected), "{layer}.weight at {index}");
    }
}

#[test]
fn a_published_state_dict_becomes_a_bundle() {
    let weights = StateDict::of(512);
    let workspace = Workspace::new();
    let embedder = workspace.embedder(&weights.separate().zip());

    let description = description(&workspace.out());
    for (key, expected) in [
        ("format", json!(2)),
        ("name", json!("mine")),
        ("embedding_size", json!(512)),
        ("input_size", json!(160)),
        ("preprocessing", json!("fixed")),
        ("crop_margin", json!(0)),
    ] {
        assert_eq!(description[key], expected, "{key}");
    }
    for (key, content) in [("pnet", "p"), ("rnet", "r"), ("onet", "o")] {
        let name = description[key].as_str().expect("a file name");
        let copied = fs::read(workspace.out().join(name)).expect("it was copied");
        assert_eq!(copied, content.as_bytes());
    }
    assert_eq!(
        fs::read_dir(workspace.out()).expect("a folder").count(),
        5,
        "nothing is left beside them"
    );

    let file = SafeTensors::deserialize(&embedder).expect("a safetensors file");
    // 6 + 5 * 7 + 4 + 10 * 5 + 7 + 6 * 5 + 1 layers.
    assert_eq!(file.len(), 2 * 133);
    for (name, view) in file.tensors() {
        let start = view.data().as_ptr().addr() - embedder.as_ptr().addr();
        assert_eq!(start % 64, 0, "{name} begins at {start}");
    }
    let norm = |name: &'static str| {
        let part = |part: &str| weights.values(&format!("{name}.{part}"));
        let (gamma, beta) = (part("weight"), part("bias"));
        let (mean, variance) = (part("running_mean"), part("running_var"));
        move |channel: usize| {
            let factor = f64::from(gamma[channel]) / (f64::from(variance[channel]) + 0.001).sqrt();
            (
                factor,
                f64::from(beta[channel]) - f64::from(mean[channel]) * factor,
            )
        }
    };
    let scale = |name: &'static str, scale: f64| {
        let bias = weights.values(&format!("{name}.bias"));
        move |channel: usize| (scale, f64::from(bias[channel]) * scale)
    };
    let check = |layer: &str, shape| (layer.to_owned(), shape);
    for ((layer, shape), norm) in [
        (check("conv2d_1a", [32, 3, 3, 3]), norm("conv2d_1a.bn")),
        (check("conv2d_3b", [80, 1, 1, 64]), norm("conv2d_3b.bn")),
        (
            check("repeat_1.4.branch2.2", [32, 3, 3, 32]),
            norm("repeat_1.4.branch2.2.bn"),
        ),
        (
            check("mixed_6a.branch0", [384, 3, 3, 256]),
            norm("mixed_6a.branch0.bn"),
        ),
        (
            check("repeat_2.9.branch1.1", [128, 1, 7, 128]),
            norm("repeat_2.9.branch1.1.bn"),
        ),
        (
            check("repeat_3.2.branch1.2", [192, 3, 1, 192]),
            norm("repeat_3.2.branch1.2.bn"),
        ),
        (check("last_linear", [512, 1, 1, 1792]), norm("last_bn")),
    ] {
        check_layer(&file, &weights, &layer, shape, norm);
    }
    for ((layer, shape), scale) in [
        (
            check("repeat_1.0.conv2d", [256, 1, 1, 96]),
            scale("repeat_1.0.conv2d", 0.17),
        ),
        (
            check("repeat_2.3.conv2d", [896, 1, 1, 256]),
            scale("repeat_2.3.conv2d", 0.10),
        ),
        (
            check("repeat_3.4.conv2d", [1792, 1, 1, 384]),
            scale("repeat_3.4.conv2d", 0.20),
        ),
        (
            check("block8.conv2d", [1792, 1, 1, 384]),
            scale("block8.conv2d", 1.0),
        ),
    ] {
        check_layer(&file, &weights, &layer, shape, scale);
    }

    // Without the classifier, in the older form, as views of shared storages: the same network.
    assert!(workspace.embedder(&weights.shared().legacy()) == embedder);
}

#[test]
fn any_embedding_size_and_precision_will_do() {
    let mut weights = StateDict::of(100);
    let workspace = Workspace::new();
    let embedder = workspace.embedder(&weights.shared().zip());
    let file = SafeTensors::deserialize(&embedder).expect("a safetensors file");
    tensor(&file, "last_linear.weight", &[4, 1, 1, 1792, 32]);
    tensor(&file, "last_linear.bias", &[100]);
    assert!(workspace.embedder(&weights.other_precisions().legacy()) == embedder);

    // Files of torch before 0.4.1 do not count batches.
    weights
        .tensors
        .retain(|(name, _)| !name.ends_with("num_batches_tracked"));
    let mut saved = weights.shared();
    saved.storages.truncate(2);
    assert!(workspace.embedder(&saved.legacy()) == embedder);
}

#[test]
fn each_wrong_tensor_is_named() {
    let workspace = Workspace::new();
    let weights = StateDict::of(128);
    let refused = |change: &dyn Fn(&mut StateDict)| {
        let mut changed = weights.clone();
        change(&mut changed);
        workspace.refused(&changed.shared())
    };
    let kernel = "repeat_1.0.branch1.1.conv.weight";
    let of_tensor = |error: ContentError, expected: &str| match error {
        ContentError::Tensor { tensor, problem } => {
            assert_eq!(tensor, expected);
            problem
        }
        other => panic!("{other}"),
    };

    let shape = refused(&|weights| weights.tensor(kernel).shape[1] = 31);
    assert_eq!(
        shape.to_string(),
        format!("tensor {kernel} has shape [32, 31, 3, 3], expected [32, 32, 3, 3]")
    );
    let missing = refused(&|weights| weights.remove(kernel));
    assert_eq!(
        missing.to_string(),
        format!("tensor {kernel} is missing, expected [32, 32, 3, 3]")
    );
    let size = refused(&|weights| weights.tensor("last_linear.weight").shape[1] = 1791);
    assert_eq!(
        size.to_string(),
        "tensor last_linear.weight has shape [128, 1791], expected [embedding size, 1792]"
    );
    let norm = refused(&|weights| weights.remove("last_bn.running_var"));
    let problem = of_tensor(norm, "last_bn.running_var");
    assert_eq!(
        problem,
        TensorProblem::Missing {
            expected: "[128]".to_owned()
        }
    );
    let dtype = refused(&|weights| {
        let tensor = weights.tensor(kernel);
        (tensor.storage, tensor.offset) = (2, 0);
        tensor.strides.fill(0);
    });
    assert_eq!(
        dtype.to_string(),
        format!(
            "tensor {kernel} holds torch.int64, expected torch.float32, float64, float16 or bfloat16"
        )
    );
    let outside = refused(&|weights| weights.tensor(kernel).offset = 999_999);
    assert_eq!(of_tensor(outside, kernel), TensorProblem::OutOfStorage);
    let negative = refused(&|weights| weights.tensor("conv2d_2a.bn.running_var").storage = 0);
    assert_eq!(
        of_tensor(negative, "conv2d_2a.conv.weight"),
        TensorProblem::NotFinite
    );
    let left_over = refused(&|weights| weights.push("head.weight", &[3]));
    assert!(matches!(left_over, ContentError::LeftOver { tensors } if tensors == ["head.weight"]));
}

#[test]
fn a_kernel_may_be_any_view_of_its_storage() {
    let workspace = Workspace::new();
    let mut weights = StateDict::of(128);
    let expected = workspace.embedder(&weights.shared().zip());
    // The same numbers stored transposed: a dense layer of [1792, 128] read as [128, 1792].
    let values = weights.values("last_linear.weight").to_vec();
    let mut saved = weights.shared();
    let transposed: Vec<f32> = (0..values.len() + 5)
        .map(|index| {
            index
                .checked_sub(5)
                .map_or(9.0, |index| values[index % 128 * 1792 + index / 128])
        })
        .collect();
    *weights.tensor("last_linear.weight") = Tensor {
        strides: vec![1, 128],
        ..Tensor::of(saved.storages.len(), 5, &[128, 1792])
    };
    saved.storages.push(Storage::float(&transposed));
    saved.root = weights.shared().root;
    assert!(workspace.embedder(&saved.zip()) == expected);
}

#[test]
fn without_a_detector_nothing_is_written() {
    let workspace = Workspace::new();
    fs::remove_file(workspace.folder.path().join("other/r.weights")).expect("it was there");
    let error = workspace.convert(b"").expect_err("no detector");
    assert!(matches!(error, ConvertError::Detector(_)), "{error}");
    assert!(error.to_string().contains("r.weights"), "{error}");
}

#[test]
fn a_converted_bundle_embeds_as_many_numbers_as_its_weights_say() {
    let workspace = Workspace::new();
    let file = workspace.folder.path().join("weights.pt");
    fs::write(&file, StateDict::of(512).shared().zip()).expect("it can be written");
    let options = BundleOptions {
        name: "mine".to_owned(),
        threshold: 1.1,
        detector: DetectorSource::Bundle(common::bundle()),
        source: None,
    };
    convert_state_dict(&file, &workspace.out(), &options).expect("a state dict");
    let recognizer = common::load(&workspace.out(), Gallery::default(), None).expect("it loads");
    assert_eq!(recognizer.precision(), Precision::Fp32);
    let crop = FaceCrop {
        size: 160,
        pixels: (0..160 * 160 * 3).map(|index| index as u8).collect(),
    };
    let embedding = recognizer.embed_crops(&[crop]).swap_remove(0);
    let norm: f32 = embedding.iter().map(|value| value * value).sum();
    assert_eq!(embedding.len(), 512);
    assert!((norm - 1.0).abs() < 1e-3, "{norm}");
}

#[test]
fn a_failed_conversion_keeps_the_old_bundle() {
    let bundle = common::bundle_with(|_| {});
    let names = || {
        let entries = fs::read_dir(bundle.path()).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    };
    let (old, old_names) = (description(bundle.path()), names());
    let workspace = Workspace::new();
    let file = workspace.folder.path().join("mine.pt");
    fs::write(&file, StateDict::of(100).shared().zip()).expect("it can be written");

    // The native engine runs no TorchScript.
    let refused = worker_convert("--torchscript", &file, bundle.path());
    assert!(!refused.status.success());
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("nothing was replaced"), "{text}");
    assert_eq!((description(bundle.path()), names()), (old, old_names));
    common::load(bundle.path(), Gallery::default(), None).expect("the old bundle loads");

    let converted = worker_convert("--state-dict", &file, bundle.path());
    assert!(converted.status.success(), "{converted:?}");
    let new = description(bundle.path());
    assert_eq!(
        (&new["name"], &new["embedding_size"]),
        (&json!("mine"), &json!(100))
    );
    assert!(
        names()
            .iter()
            .all(|name| !name.to_string_lossy().starts_with('.'))
    );
    common::load(bundle.path(), Gallery::default(), None).expect("the new bundle loads");
}

fn description(bundle: &Path) -> Value {
    let text = fs::read(bundle.join("bundle.json")).expect("it was written");
    serde_json::from_slice(&text).expect("it is JSON")
}

fn worker_convert(kind: &str, file: &Path, out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_worker"))
        .args(["convert", "--engine", "native", kind])
        .arg(file)
        .arg("--out")
        .arg(out)
        .arg("--from")
        .arg(common::bundle())
        .output()
        .expect("worker starts")
}
