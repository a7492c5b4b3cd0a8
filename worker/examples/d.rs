use std::path::Path;
use std::time::Instant;
use worker::vision::decode::Photo;
use worker::vision::enrol::photos_below;
use worker::vision::*;
fn main() {
    let r = Recogniser::load(Path::new(".local/models/facenet128"), Gallery::default()).unwrap();
    let photos: Vec<Photo> = photos_below(Path::new(".local/photos/val")).unwrap().iter()
        .map(|p| decode::decode(&std::fs::read(p).unwrap(), &DecodeLimits::default()).unwrap()).collect();
    let src = &photos[std::env::args().nth(1).map_or(0, |a| a.parse().unwrap())];
    for (w, h) in [(64u32, 64u32), (512, 512), (1920, 1080)] {
        let im = image::RgbImage::from_raw(src.width() as u32, src.height() as u32, src.pixels().to_vec()).unwrap();
        let big = image::imageops::resize(&im, w, h, image::imageops::FilterType::Triangle);
        let ph = Photo::new(w as usize, h as usize, big.into_raw());
        let n = if w > 1000 { 15 } else { 60 };
        let mut v: Vec<f64> = (0..n).map(|_| { let t = Instant::now(); r.detect(&ph); t.elapsed().as_secs_f64() * 1e3 }).collect();
        v.sort_by(f64::total_cmp);
        println!("{w}x{h}: median {:.2} min {:.2}  faces {}", v[n / 2], v[0], r.detect(&ph).len());
    }
}
