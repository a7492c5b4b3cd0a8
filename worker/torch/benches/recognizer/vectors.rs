//! Unit vectors in clusters, one for each person, as embeddings of faces.

use worker::vision::Gallery;

pub const DIMENSION: usize = 128;
const PHOTOS_OF_A_PERSON: usize = 10;
/// Noise on photos of a person: two of them are 0.85 apart, and photos of two persons 1.41.
const SCATTER: f32 = 0.75;

pub fn clustered_gallery(rows: usize) -> Gallery {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut gallery = Gallery::new(DIMENSION);
    let mut center = random.unit_vector();
    for row in 0..rows {
        if row % PHOTOS_OF_A_PERSON == 0 {
            center = random.unit_vector();
        }
        let name = format!("person-{}", row / PHOTOS_OF_A_PERSON);
        gallery.push(name, &random.near(&center));
    }
    gallery
}

/// Returns queries near rows of the gallery.
pub fn queries(gallery: &Gallery, count: usize) -> Vec<Vec<f32>> {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let step = (gallery.len() / count).max(1);
    let rows = gallery.rows().step_by(step).take(count);
    rows.map(|(_, known)| random.near(known)).collect()
}

/// Marsaglia's xorshift, with the same numbers in every run.
struct Random(u64);

impl Random {
    fn near(&mut self, center: &[f32]) -> Vec<f32> {
        let noise = self.unit_vector();
        let moved = center
            .iter()
            .zip(noise)
            .map(|(value, noise)| value + SCATTER * noise);
        normalized(moved.collect())
    }

    fn unit_vector(&mut self) -> Vec<f32> {
        // Sums of three uniform numbers are about normal, so that all directions are about equally likely.
        let component = |random: &mut Self| (0..3).map(|_| random.uniform()).sum();
        normalized((0..DIMENSION).map(|_| component(self)).collect())
    }

    /// Returns a number from -1 to 1.
    fn uniform(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

fn normalized(mut vector: Vec<f32>) -> Vec<f32> {
    let norm = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    vector.iter_mut().for_each(|value| *value /= norm);
    vector
}
