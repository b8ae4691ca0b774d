//! Text with places in braces, which a message fills: `"tasmota-{device}"`.

/// The parts of a text: what stands between places, by `plain`, and the places, by what is in their braces.
pub(super) fn parts<P>(
    text: &str,
    plain: impl Fn(String) -> P,
    mut place: impl FnMut(&str) -> Result<P, String>,
) -> Result<Vec<P>, String> {
    let mut parts = Vec::new();
    let push = |parts: &mut Vec<P>, between: &str| {
        if between.contains('}') {
            return Err("has a } without its {".to_owned());
        }
        parts.extend((!between.is_empty()).then(|| plain(between.to_owned())));
        Ok(())
    };
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, behind) = behind.split_once('}').ok_or("has a { without its }")?;
        push(&mut parts, before)?;
        parts.push(place(name)?);
        rest = behind;
    }
    push(&mut parts, rest)?;
    Ok(parts)
}
