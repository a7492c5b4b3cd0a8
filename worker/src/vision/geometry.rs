//! Boxes, points and faces. Coordinates are pixels of the upright photo, from its top left corner.

use serde::{Deserialize, Serialize};

/// A rectangle in a photo.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BoundingBox {
    pub left: f32,
    pub top: f32,
    pub right: f32,
    pub bottom: f32,
}

impl BoundingBox {
    pub fn width(&self) -> f32 {
        self.right - self.left
    }

    pub fn height(&self) -> f32 {
        self.bottom - self.top
    }

    pub fn area(&self) -> f32 {
        self.width() * self.height()
    }

    /// Returns the same rectangle in a photo `factor` times as large.
    pub fn scaled(&self, factor: f32) -> Self {
        Self {
            left: self.left * factor,
            top: self.top * factor,
            right: self.right * factor,
            bottom: self.bottom * factor,
        }
    }
}

/// A position in a photo.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub x: f32,
    pub y: f32,
}

/// A face that the detector found.
#[derive(Debug, Clone, PartialEq)]
pub struct Face {
    pub bounding_box: BoundingBox,
    /// O-Net's probability that this is a face, 0 to 1.
    pub probability: f32,
    /// Left eye, right eye, nose, left and right corner of the mouth, as the viewer sees them.
    pub landmarks: [Point; 5],
}
