//! Tests of simulated sensors.

use super::model::{NotNegative, Period};
use super::*;

fn settings(text: &str) -> Settings {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_late_reading_does_not_push_the_next_one_later() {
    let start = clock::now().instant;
    let settings = settings(r#"{"count":4,"interval":"100ms"}"#);
    let mut sensor = Sensor::new(&settings, 1, start, 0);
    let ms = Duration::from_millis;
    assert_eq!(sensor.due, start + ms(25));
    assert_eq!((sensor.schedule(start + ms(110)), sensor.due), (0, start + ms(125)));
    assert_eq!((sensor.schedule(start + ms(460)), sensor.due), (2, start + ms(425)));
}

#[test]
fn the_same_seed_gives_the_same_values_and_every_model_works() {
    for model in [
        r#"{"gaussian":{}}"#,
        r#"{"sine":{"period":4}}"#,
        r#"{"random_walk":{"start":1,"step":0.5}}"#,
        r#"{"constant":{"value":3.25}}"#,
    ] {
        let model: Model = serde_json::from_str(model).unwrap();
        let values = |seed| {
            let mut values = Values::new(model, seed);
            std::iter::repeat_with(|| values.value()).take(20).collect::<Vec<_>>()
        };
        assert_eq!(values(7), values(7), "{model:?}");
    }
    let gaussian = Model::default();
    let mut values = Values::new(gaussian, 1);
    let mean = std::iter::repeat_with(|| values.value()).take(10_000).sum::<f64>() / 10_000.0;
    assert!((mean - 50.0).abs() < 1.0, "{mean}");
}

#[test]
fn ids_have_as_many_digits_as_are_needed() {
    let ten = settings(r#"{"count":10}"#);
    assert_eq!((ten.sensor_id("T", 0), ten.sensor_id("T", 9)), ("T_00".into(), "T_09".into()));
    assert_eq!(settings(r#"{"count":1001}"#).sensor_id("T", 7), "T_0007");
    assert_eq!(settings("{}").sensor_id("T", 0), "T");
    assert!(serde_json::from_str::<Settings>(r#"{"count":0}"#).is_err());
}

#[test]
fn a_model_that_makes_no_values_is_refused_with_its_remedy() {
    for model in [
        r#"{"gaussian":{"std_dev":-1}}"#,
        r#"{"sine":{"period":0}}"#,
        r#"{"sine":{"period":-100}}"#,
        r#"{"sine":{"amplitude":-0.5}}"#,
        r#"{"random_walk":{"step":-1}}"#,
    ] {
        let error = serde_json::from_str::<Model>(model).unwrap_err().to_string();
        assert!(error.contains(": write "), "{model}: {error}");
    }
    assert!(Period::try_from(f64::INFINITY).is_err() && Period::try_from(f64::NAN).is_err());
    assert!(NotNegative::try_from(f64::NAN).is_err());
}
