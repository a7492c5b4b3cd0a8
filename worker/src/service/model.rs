use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::vision::{Engine, Gallery, Recogniser};

/// Which networks and which identities.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArgs {
    /// Folder of the model bundle
    #[arg(
        long,
        env = "MUSTER_MODELS",
        default_value = ".local/models/facenet128",
        value_name = "DIR"
    )]
    pub models: PathBuf,
    /// File of the gallery that `worker enrol` made
    #[arg(
        long,
        env = "MUSTER_GALLERY",
        default_value = ".local/gallery.safetensors",
        value_name = "FILE"
    )]
    pub gallery: PathBuf,
    /// Distance beyond which a face is nobody's, 0 to 2; absent: the bundle's own
    #[arg(long, env = "MUSTER_THRESHOLD", value_name = "DISTANCE")]
    pub threshold: Option<f32>,
    /// How the embedder computes; absent: int8 where the bundle is calibrated and the processor has instructions for it
    #[arg(long, env = "MUSTER_ENGINE", value_enum)]
    pub engine: Option<Engine>,
}

impl ModelArgs {
    /// # Errors
    /// When the bundle or the gallery cannot be loaded, or do not belong together.
    pub fn load(&self) -> anyhow::Result<Recogniser> {
        let gallery = Gallery::load(&self.gallery).with_context(|| {
            format!(
                "cannot load the gallery {}; `worker enrol` makes one",
                self.gallery.display()
            )
        })?;
        self.load_with_gallery(gallery)
    }

    /// The same with a gallery from elsewhere.
    ///
    /// # Errors
    /// When the bundle cannot be loaded, or the gallery does not belong to it.
    pub fn load_with_gallery(&self, gallery: Gallery) -> anyhow::Result<Recogniser> {
        load_bundle(&self.models, gallery, self.engine).map(|recogniser| match self.threshold {
            Some(threshold) => recogniser.with_threshold(threshold),
            None => recogniser,
        })
    }
}

/// # Errors
/// When the bundle cannot be loaded, or the gallery does not belong to it.
pub fn load_bundle(
    bundle: &Path,
    gallery: Gallery,
    engine: Option<Engine>,
) -> anyhow::Result<Recogniser> {
    let recogniser = match engine {
        Some(engine) => Recogniser::load_with(bundle, gallery, engine),
        None => Recogniser::load(bundle, gallery),
    };
    recogniser.with_context(|| {
        format!(
            "cannot load the model bundle {}; `make setup` makes it",
            bundle.display()
        )
    })
}
