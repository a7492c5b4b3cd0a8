//! The order of convolution kernels in weight files: panels of 32 output channels. For each input value a GEMM loads a
//! panel's weights as consecutive vectors, straight from the memory map. Nothing is rearranged when a worker starts.

use super::aligned::Aligned;

/// Output channels in a panel.
pub const PANEL: usize = 32;

/// Returns the number of panels for `outputs` channels, the last of which may be padded.
pub fn panels(outputs: usize) -> usize {
    outputs.div_ceil(PANEL)
}

/// Pads a vector of one value for each output with zeros to whole panels.
pub fn padded(mut values: Vec<f32>) -> Vec<f32> {
    values.resize(panels(values.len()) * PANEL, 0.0);
    values
}

/// Rearranges a kernel from [out, taps] (taps: height, width, input channel) to [panel, taps, 32]. The padding of the
/// last panel is zero.
///
/// Panics if `weights` does not hold `outputs` rows.
pub fn pack(weights: &[f32], outputs: usize) -> Vec<f32> {
    pack_aligned(weights, outputs).to_vec()
}

/// As [`pack`], aligned to cache lines.
pub fn pack_aligned(weights: &[f32], outputs: usize) -> Aligned {
    let taps = weights.len() / outputs;
    assert_eq!(
        weights.len(),
        taps * outputs,
        "one row of taps for each output"
    );
    let mut packed = Aligned::zeros(panels(outputs) * taps * PANEL);
    for (output, row) in weights.chunks_exact(taps).enumerate() {
        let panel = &mut packed[output / PANEL * taps * PANEL..][..taps * PANEL];
        for (tap, &weight) in row.iter().enumerate() {
            panel[tap * PANEL + output % PANEL] = weight;
        }
    }
    packed
}

/// Reverses [`pack`]: returns [out, taps].
pub fn unpack(packed: &[f32], outputs: usize) -> Vec<f32> {
    let taps = packed.len() / (panels(outputs) * PANEL);
    let mut weights = Vec::with_capacity(outputs * taps);
    for output in 0..outputs {
        let panel = &packed[output / PANEL * taps * PANEL..][..taps * PANEL];
        weights.extend(panel.iter().skip(output % PANEL).step_by(PANEL));
    }
    weights
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_of_a_panel_lies_together_and_the_last_panel_is_padded() {
        let (outputs, taps) = (40, 3);
        let weights: Vec<f32> = (0..outputs * taps).map(|index| index as f32).collect();
        let packed = pack(&weights, outputs);
        assert_eq!(unpack(&packed, outputs), weights);
        assert_eq!(packed.len(), 2 * taps * PANEL);
        for output in 0..outputs {
            for tap in 0..taps {
                let index = (output / PANEL * taps + tap) * PANEL + output % PANEL;
                assert_eq!(packed[index], weights[output * taps + tap]);
            }
        }
        assert!(
            packed[taps * PANEL..]
                .chunks_exact(PANEL)
                .all(|tap| tap[8..].iter().all(|&pad| pad == 0.0))
        );
    }
}
