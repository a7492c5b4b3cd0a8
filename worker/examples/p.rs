use std::path::Path;
use worker::vision::*;
fn main() {
    let e = std::env::args().nth(1).unwrap();
    let n: usize = std::env::args().nth(2).unwrap().parse().unwrap();
    let r = Recogniser::load_with(
        Path::new(".local/models/facenet128"),
        Gallery::default(),
        if e == "fp32" {
            Engine::Fp32
        } else {
            Engine::Int8
        },
    )
    .unwrap();
    let crops: Vec<_> = (0..n)
        .map(|i| crop::FaceCrop {
            size: 160,
            pixels: (0..76800u32)
                .map(|x| (x.wrapping_mul(2654435761) >> (8 + i)) as u8)
                .collect(),
        })
        .collect();
    for _ in 0..300 / n {
        r.embed_crops(&crops);
    }
}
