//! AdamW (Loshchilov, Hutter 2019) and the learning rate over a run.
//!
//! In plain loops and in one order, so that a run that was interrupted and resumed gives the same
//! bits as one that was not.

/// The learning rate: a linear warm-up to its peak, then half a cosine down.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub peak: f64,
    /// Steps until it is reached.
    pub warm_up: usize,
    /// The rate at the end, as a part of the peak.
    pub last: f64,
}

impl Schedule {
    /// The rate of a step, counted from 0, of a run of `steps`.
    #[must_use]
    pub fn rate(&self, step: usize, steps: usize) -> f64 {
        if step < self.warm_up {
            return self.peak * (step + 1) as f64 / self.warm_up as f64;
        }
        let left = steps.saturating_sub(self.warm_up).max(1);
        let done = ((step - self.warm_up) as f64 / left as f64).min(1.0);
        let cosine = (1.0 + (std::f64::consts::PI * done).cos()) / 2.0;
        self.peak * (self.last + (1.0 - self.last) * cosine)
    }
}

/// The constants of AdamW.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdamW {
    pub(super) beta1: f64,
    pub(super) beta2: f64,
    pub(super) epsilon: f64,
}

/// Running averages of one tensor's gradient and of its square.
#[derive(Debug, Clone)]
pub(super) struct Moments {
    pub(super) first: Vec<f32>,
    pub(super) second: Vec<f32>,
}

impl Moments {
    pub(super) fn zero(count: usize) -> Self {
        Self { first: vec![0.0; count], second: vec![0.0; count] }
    }
}

impl AdamW {
    /// One update of `weights`, at `step` counted from 0. `gradient` points uphill in the loss;
    /// `decay` is not part of the moments.
    pub(super) fn update(
        &self,
        weights: &mut [f32],
        gradient: &[f32],
        moments: &mut Moments,
        step: usize,
        rate: f64,
        decay: f64,
    ) {
        let exponent = i32::try_from(step + 1).unwrap_or(i32::MAX);
        // The averages began at zero; early on they are too small by these factors.
        let (short1, short2) = (1.0 - self.beta1.powi(exponent), 1.0 - self.beta2.powi(exponent));
        let Moments { first, second } = moments;
        for (((weight, &gradient), first), second) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
            let gradient = f64::from(gradient);
            let mean = self.beta1 * f64::from(*first) + (1.0 - self.beta1) * gradient;
            let square = self.beta2 * f64::from(*second) + (1.0 - self.beta2) * gradient * gradient;
            let change = mean / short1 / ((square / short2).sqrt() + self.epsilon);
            let old = f64::from(*weight);
            *weight = super::random::single(old - rate * (change + decay * old));
            *first = super::random::single(mean);
            *second = super::random::single(square);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_falls_and_ends_where_it_shall() {
        let schedule = Schedule { peak: 2.0, warm_up: 4, last: 0.1 };
        for (step, wanted) in [(0, 0.5), (3, 2.0), (4, 2.0), (12, 1.1), (20, 0.2), (25, 0.2)] {
            assert!((schedule.rate(step, 20) - wanted).abs() < 1e-12, "step {step}");
        }
        assert!((Schedule { warm_up: 0, ..schedule }.rate(0, 1) - 2.0).abs() < 1e-12);
    }

    /// On `(w - 3)^2` the first step is the rate itself, whatever the gradient's size, and the
    /// minimum is reached.
    #[test]
    fn a_parabola_is_descended() {
        let adam = AdamW { beta1: 0.9, beta2: 0.95, epsilon: 1e-8 };
        let (mut weights, mut moments) = ([0.0f32], Moments::zero(1));
        for step in 0..400 {
            let gradient = [2.0 * (weights[0] - 3.0)];
            adam.update(&mut weights, &gradient, &mut moments, step, 0.05, 0.0);
            if step == 0 {
                assert!((weights[0] - 0.05).abs() < 1e-6, "{}", weights[0]);
            }
        }
        assert!((weights[0] - 3.0).abs() < 0.05, "{}", weights[0]);
        // Decay pulls towards zero with no gradient at all.
        adam.update(&mut weights, &[0.0], &mut Moments::zero(1), 0, 0.5, 0.5);
        assert!((weights[0] - 2.25).abs() < 0.05, "{}", weights[0]);
    }
}
