//! Kernels whose loops are written out and whose sizes are constants, so that a compiler keeps in registers what they hold.
//!
//! A file in `shaders/` is such a kernel for its smallest sizes. Here the constants it declares get other values, and the
//! lines between `// repeat X in COUNT` and `// end` are written COUNT times with 0, 1, … for X: for `X` itself, and for the X
//! in names such as `w_X`. Repetitions may be nested.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex};

use crate::device::Kernel;

/// A constant's name in the file and its value.
pub type Constant = (&'static str, usize);

/// `kernel` with these constants. What was once made stays, as pipelines do.
pub fn unrolled(kernel: &'static Kernel, constants: &[Constant]) -> &'static Kernel {
    type Made = HashMap<(&'static str, &'static str, Vec<usize>), &'static Kernel>;
    static MADE: LazyLock<Mutex<Made>> = LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let values = constants.iter().map(|(_, value)| *value).collect();
    made.entry((kernel.name, kernel.entry, values)).or_insert_with(|| {
        let values: Vec<_> = constants.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let name = format!("{} {}", kernel.name, values.join(" "));
        let written =
            |text: &str| &*written_out(&with_constants(text, constants).lines().collect::<Vec<_>>(), constants).leak();
        let shared: Vec<_> = kernel.shared.iter().map(|(name, text)| (*name, written(text))).collect();
        let made = Kernel { name: name.leak(), source: written(kernel.source), shared: shared.leak(), ..*kernel };
        let declares = |name| made.wgsl().contains(&format!("const {name} = "));
        debug_assert!(
            constants.iter().all(|(name, _)| declares(*name)),
            "no such constant in {}: {constants:?}",
            kernel.name
        );
        Box::leak(Box::new(made))
    })
}

/// `source` with the constants that it declares set. Matrices that a subgroup multiplies together have a type for each SIDE.
fn with_constants(source: &str, constants: &[Constant]) -> String {
    let mut text = source.to_owned();
    for (name, value) in constants {
        let declared = format!("const {name} = ");
        let Some(start) = source.find(&declared) else { continue };
        let line = source[start..].lines().next().expect("a line");
        text = text.replace(line, &format!("{declared}{value}u;"));
        if *name == "SIDE" {
            text = text.replace("coop_mat8x8", &format!("coop_mat{value}x{value}"));
        }
    }
    text
}

fn written_out(lines: &[&str], constants: &[Constant]) -> String {
    let mut text = String::new();
    let mut rest = lines;
    while let [line, after @ ..] = rest {
        rest = after;
        let Some(repeat) = line.trim().strip_prefix("// repeat ") else {
            text.extend([*line, "\n"]);
            continue;
        };
        let (index, count) = repeat.split_once(" in ").expect("`repeat X in COUNT`");
        let (_, count) = constants.iter().find(|(name, _)| *name == count).expect("a constant that is set");
        let (body, after) = after.split_at(end_of(after));
        for value in 0..*count {
            let lines: Vec<_> = body.iter().map(|line| numbered(line, index, value)).collect();
            text += &written_out(&lines.iter().map(String::as_str).collect::<Vec<_>>(), constants);
        }
        rest = &after[1..];
    }
    text
}

/// The line of the `end` that belongs to a repetition whose first line is the first of `lines`.
fn end_of(lines: &[&str]) -> usize {
    let mut open = 1;
    for (place, line) in lines.iter().enumerate() {
        open += usize::from(line.trim().starts_with("// repeat "));
        open -= usize::from(line.trim() == "// end");
        if open == 0 {
            return place;
        }
    }
    panic!("a repetition without `end`")
}

/// `line` with `value` for `index`.
fn numbered(line: &str, index: &str, value: usize) -> String {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut text = String::new();
    let mut rest = line;
    while let Some(start) = rest.find(is_name) {
        let len = rest[start..].find(|c| !is_name(c)).unwrap_or(rest.len() - start);
        let (before, name, after) = (&rest[..start], &rest[start..start + len], &rest[start + len..]);
        text += before;
        if name == index {
            text += &format!("{value}u");
        } else {
            let number = value.to_string();
            let parts: Vec<_> = name.split('_').map(|part| if part == index { &number } else { part }).collect();
            text += &parts.join("_");
        }
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::{numbered, with_constants, written_out};

    #[test]
    fn repetitions_are_written_out() {
        let text = "a\n// repeat R in ROWS\nvar s_R = R;\n    // repeat Q in N\n    s_R += w_R_Q[Q + 1u];\n    // end\n// end\nb";
        let lines: Vec<_> = text.lines().collect();
        let want = "a\nvar s_0 = 0u;\n    s_0 += w_0_0[0u + 1u];\n    s_0 += w_0_1[1u + 1u];\n\
                    var s_1 = 1u;\n    s_1 += w_1_0[0u + 1u];\n    s_1 += w_1_1[1u + 1u];\nb\n";
        assert_eq!(written_out(&lines, &[("ROWS", 2), ("N", 2)]), want);
        assert_eq!(written_out(&lines, &[("ROWS", 0), ("N", 2)]), "a\nb\n");
    }

    #[test]
    fn names_that_only_contain_the_index_stay() {
        assert_eq!(numbered("Quad(Q, xQ, h_Q_Q) /* Q */", "Q", 12), "Quad(12u, xQ, h_12_12) /* 12u */");
    }

    #[test]
    fn constants_are_set() {
        assert_eq!(
            with_constants("const A = 1u;\nconst B = A;\n", &[("A", 7), ("C", 2)]),
            "const A = 7u;\nconst B = A;\n"
        );
        let text = with_constants("const SIDE = 8u;\nalias Left = coop_mat8x8<f16, A>;", &[("SIDE", 16)]);
        assert_eq!(text, "const SIDE = 16u;\nalias Left = coop_mat16x16<f16, A>;");
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "no such constant")]
    fn an_unknown_constant_is_noticed() {
        super::unrolled(crate::kernels::all().next().expect("a kernel"), &[("C", 7)]);
    }
}
