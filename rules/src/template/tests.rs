//! Replays the corpus, and what a corpus cannot say: limits, positions, and that nothing panics.

use narthex_query::{SampleValue, VectorSample};
use narthex_storage::{Labels, Timestamp};
use proptest::prelude::*;

use super::*;

fn answer(query: &str) -> Result<Vec<VectorSample>, String> {
    let other = |n: &str, instance: &str, value: f64| VectorSample {
        labels: Labels::from_pairs([("__name__", "other"), ("n", n), ("instance", instance)]),
        time: 0,
        value: SampleValue::Float(value),
        place: 0,
    };
    match query {
        "other" => Ok(vec![
            other("a", "c:1", 1.0),
            other("c", "b:1", 3.0),
            other("b", "a:1", 2.5),
        ]),
        "other{n='a'}" => Ok(vec![other("a", "c:1", 1.0)]),
        "vector(NaN)" => Ok(vec![VectorSample {
            labels: Labels::empty(),
            time: 0,
            value: SampleValue::Float(f64::NAN),
            place: 0,
        }]),
        "bad(" => Err("1:5: parse error: unclosed left parenthesis".to_owned()),
        _ => Ok(Vec::new()),
    }
}

/// What `text` is refused with, fails with, or expands to, over the data that the head of the
/// corpus describes.
fn outcome(text: &str) -> (&'static str, String) {
    let template = match Template::parse("__alert_X", text) {
        Ok(template) => template,
        Err(error) => return ("refused", error.to_string()),
    };
    match expand_at(&template, 0) {
        Ok(text) => ("text", text),
        Err(error) => ("failed", error.to_string()),
    }
}

fn expand_at(template: &Template, time: Timestamp) -> Result<String, TemplateError> {
    template.expand(&TemplateData {
        labels: &Labels::from_pairs([
            ("__name__", "metric"),
            ("bad", "<a href='x'>&\"é\t"),
            ("case", "0"),
            ("instance", "host.example.com:9100"),
            ("job", "node"),
            ("number", "1234.5"),
        ]),
        value: SampleValue::Float(1234567.25),
        external_labels: &Labels::from_pairs([("cluster", "eu-1"), ("region", "x")]),
        external_url: "http://prom.example.com:9090/path/to",
        time,
        query: &|query, _| answer(query),
    })
}

/// Every template of the corpus does what its second line says.
#[test]
fn the_corpus_is_answered_as_by_prometheus() {
    let corpus = include_str!("../../tests/corpus/templates.txt");
    let mut lines = corpus.lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    let mut wrong = Vec::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let template = quote::unquote(line).unwrap_or_else(|| panic!("not a string: {line}"));
        let expected = lines.next().unwrap();
        let (kind, text) = expected.split_once(' ').unwrap();
        let text = quote::unquote(text).unwrap_or_else(|| panic!("not a string: {text}"));
        let got = outcome(&template);
        if got != (kind, text.clone()) {
            wrong.push(format!(
                "{template}\n  expected {kind} {text}\n       got {} {}\n",
                got.0, got.1
            ));
        }
        count += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} of {count} differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count >= 250, "only {count} templates");
}

/// Templates that would go on for ever, or for very long, stop with an error that names the limit.
#[test]
fn a_template_without_end_is_stopped() {
    let ends = |text: &str| {
        let (kind, message) = outcome(text);
        assert_eq!(kind, "failed", "{text}");
        message.rsplit(">: ").next().unwrap_or_default().to_owned()
    };
    let steps = format!("more than {} steps", evaluate::STEPS_MAX);
    assert_eq!(ends("{{ range 9223372036854775807 }}{{ end }}"), steps);
    assert_eq!(
        ends("{{ range 10000 }}{{ range 10000 }}{{ end }}{{ end }}"),
        steps
    );
    assert_eq!(
        ends("{{ range 10000 }}{{ $x := query `other` }}{{ end }}"),
        steps
    );
    let output = format!("output of more than {} bytes", evaluate::OUTPUT_BYTES_MAX);
    assert_eq!(ends("{{ range 200000 }}0123456789{{ end }}"), output);
    let text = format!(
        "text of more than {} bytes, or too long to look through",
        evaluate::OUTPUT_BYTES_MAX
    );
    assert_eq!(ends(r#"{{ printf "%1000000d%1000000d" 1 2 }}"#), text);
    assert_eq!(
        ends(r#"{{ reReplaceAll "" (printf "%99999d" 1) "abcdefghijklmn" }}"#),
        text
    );
    assert_eq!(
        ends(r#"{{ reReplaceAll "0*x|0" "0" (printf "%0100000d" 1) }}"#),
        text
    );
    let work = format!(
        "functions read and made more than {} bytes of text",
        evaluate::WORK_BYTES_MAX
    );
    let double = r#"{{ $x := "0123456789" }}{{ range 100 }}{{ $x = print $x $x }}{{ end }}"#;
    assert_eq!(ends(double), work);
    let double_args = "{{ $x := 1 }}{{ range 30 }}{{ $x = args $x $x }}{{ end }}{{ $x }}";
    assert_eq!(ends(double_args), work);
    assert_eq!(
        ends("{{ $x := 1 }}{{ range 100000 }}{{ $x = args $x }}{{ end }}"),
        "more than 32 args within one another"
    );
    let variables = "{{ $x := 1 }}".repeat(2000);
    assert_eq!(
        outcome(&variables).1,
        format!(
            "template: __alert_X:1: more than {} variables",
            parser::VARIABLES_MAX
        )
    );
    let depth = format!("exceeded maximum template depth ({})", evaluate::DEPTH_MAX);
    assert_eq!(
        ends(r#"{{ define "x" }}{{ template "x" }}{{ end }}{{ template "x" }}"#),
        depth
    );
    assert_eq!(ends(r#"{{ template "__alert_X" . }}"#), depth);
    let bent = format!(
        r#"{{{{ define "x" }}}}{}{{{{ template "x" }}}}{}{{{{ end }}}}{{{{ template "x" }}}}"#,
        "{{ if (print (print (print 1))) }}".repeat(40),
        "{{ end }}".repeat(40)
    );
    assert_eq!(ends(&bent), depth);
}

/// As deep as the source may be, it is parsed, expanded, shown and dropped on a test's stack.
#[test]
fn the_deepest_source_fits_the_stack() {
    let parentheses = |depth| format!("{{{{ {}1{} }}}}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(
        outcome(&parentheses(parser::SOURCE_DEPTH_MAX)),
        ("text", "1".to_owned())
    );
    let refused = (
        "refused",
        "template: __alert_X:1: max expression depth exceeded".to_owned(),
    );
    assert_eq!(outcome(&parentheses(parser::SOURCE_DEPTH_MAX + 1)), refused);
    assert_eq!(outcome(&parentheses(1_000_000)), refused);
    let blocks = |depth| format!("{}x{}", "{{if 1}}".repeat(depth), "{{end}}".repeat(depth));
    assert_eq!(
        outcome(&blocks(parser::SOURCE_DEPTH_MAX)),
        ("text", "x".to_owned())
    );
    assert_eq!(outcome(&blocks(100_000)), refused);
    let chain = format!("{{{{if 0}}}}{}{{{{end}}}}", "{{else if 0}}".repeat(100_000));
    assert_eq!(outcome(&chain), refused);
    let shown = format!(
        "{{{{ {} range true }}}}{{{{ end }}}}",
        "(".repeat(parser::SOURCE_DEPTH_MAX)
    );
    assert_eq!(outcome(&shown).0, "refused");
}

/// Line and column are those of the text that the author wrote.
#[test]
fn errors_tell_where_they_are() {
    let place = |text: &str| {
        let error = match Template::parse("__alert_X", text) {
            Ok(template) => expand_at(&template, 0).unwrap_err(),
            Err(error) => error,
        };
        (error.line(), error.column())
    };
    assert_eq!(place("{{ foo }}"), (1, 4));
    assert_eq!(place("abc\nd {{ foo }}"), (2, 6));
    assert_eq!(place("{{ .Nope }}"), (1, 4));
    assert_eq!(place("abc\nd {{ .Nope }}"), (2, 6));
    assert_eq!(place("{{ (toTime 0).In }}"), (1, 14));
}

/// The time of the evaluation reaches `now` and queries.
#[test]
fn queries_are_asked_for_the_time_of_the_evaluation() {
    let template =
        Template::parse("__alert_X", "{{ now }} {{ query `q` | first | value }}").unwrap();
    let text = template.expand(&TemplateData {
        labels: &Labels::empty(),
        value: SampleValue::Float(0.0),
        external_labels: &Labels::empty(),
        external_url: "",
        time: 1500,
        query: &|query, time| {
            assert_eq!(query, "q");
            Ok(vec![VectorSample {
                labels: Labels::empty(),
                time,
                value: SampleValue::Float(time as f64),
                place: 0,
            }])
        },
    });
    assert_eq!(text, Ok("1.5 1500".to_owned()));
}

/// A panic ends the expansion alone.
#[test]
fn a_panic_is_an_error_of_the_template() {
    let template = Template::parse("__alert_X", "{{ query `q` }}").unwrap();
    let expanded = template.expand(&TemplateData {
        labels: &Labels::empty(),
        value: SampleValue::Float(0.0),
        external_labels: &Labels::empty(),
        external_url: "",
        time: 0,
        query: &|query, _| panic!("no {query}"),
    });
    assert_eq!(
        expanded.unwrap_err().to_string(),
        "panic expanding template __alert_X: no q"
    );
}

/// Words that templates are made of, and some that they are not.
const WORDS: &[&str] = &[
    "{{",
    "}}",
    "{{ ",
    " }}",
    "{{- ",
    " -}}",
    "if ",
    "else ",
    "end",
    "range ",
    "with ",
    "define ",
    "template ",
    "block ",
    "break",
    "continue",
    "$x",
    "$labels",
    "$value",
    ".",
    ".Labels",
    ".Value",
    ".job",
    ".Foo",
    " := ",
    " = ",
    ", ",
    "| ",
    "(",
    ")",
    " ",
    "\n",
    "\"a\"",
    "`b`",
    "'c'",
    "1",
    "-2",
    "1.5",
    "1e9",
    "0x1F",
    "9223372036854775807",
    "nil",
    "true",
    "text",
    "é",
    "/*",
    "*/",
    "\\",
    "\"",
    "printf ",
    "print ",
    "\"%d %v %*s %[2]q %.3g %#v %x\" ",
    "index ",
    "slice ",
    "len ",
    "eq ",
    "lt ",
    "and ",
    "or ",
    "not ",
    "html ",
    "js ",
    "args ",
    "query \"other\" ",
    "first ",
    "value ",
    "sortByLabel \"n\" ",
    "label ",
    "humanize ",
    "humanizeDuration ",
    "humanizeTimestamp ",
    "toTime ",
    "toDuration ",
    "reReplaceAll ",
    "match ",
    "title ",
    "stripPort ",
    "parseDuration ",
    ".Format ",
    ".Add ",
    ".AddDate ",
    ".Round ",
    ".Year",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("NARTHEX_PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(256)
    ))]

    /// Whatever a template says, it is refused, fails or expands; it does not panic or go on.
    #[test]
    fn any_template_ends(words in proptest::collection::vec(proptest::sample::select(WORDS), 0..40)) {
        let (kind, text) = outcome(&words.concat());
        prop_assert!(text.len() <= evaluate::OUTPUT_BYTES_MAX || kind == "failed");
    }

    /// The same for actions that are whole, which get further than words at random.
    #[test]
    fn any_action_ends(
        actions in proptest::collection::vec(
            proptest::collection::vec(proptest::sample::select(WORDS), 1..8),
            1..6,
        ),
    ) {
        let actions: Vec<String> = actions.iter().map(|words| words.join(" ")).collect();
        outcome(&format!("{{{{ {} }}}}", actions.join(" }}{{ ")));
    }

    /// And for formats, over every kind of value.
    #[test]
    fn any_format_ends(
        format in "[%+# 0-9.*\\[\\]a-zA-Z!é-]{0,20}",
        arguments in proptest::collection::vec(
            proptest::sample::select(vec![
                "1", "-7", "1.5", "1e300", "\"aé\"", "true", "nil", "$labels", "$value", ".",
                "(query \"other\")", "(first (query \"other\"))", "(args 1 nil)", "(toTime 0)",
                "(toDuration 1.5)", "(toTime 0).Month", "(safeHtml \"x\")", "(index \"a\" 0)",
            ]),
            0..5,
        ),
    ) {
        outcome(&format!("{{{{ printf {} {} }}}}", quote::quote(&format), arguments.join(" ")));
    }
}
