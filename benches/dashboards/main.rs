//! Processor time of queries over HTTP, as dashboards ask them, against Prometheus and `VictoriaMetrics`.
//!
//! Two sets of the same kind, 10,000 series over 6 hours and 5,000 over a day (`NARTHEX_DASHBOARDS_SERIES`,
//! "10000,5000"), are written by remote write into this server and into those that
//! `NARTHEX_PROMETHEUS` and `NARTHEX_VICTORIA_METRICS` name. When all are quiet, each shape is asked of
//! each server until it has used `NARTHEX_DASHBOARDS_SECONDS` (0.3) of processor time, after once for warming
//! up; this server and `VictoriaMetrics` with `nocache=1`. What a query takes is user and kernel time of the whole server
//! process by the number of queries. The answers are compared: with Prometheus series, points and values
//! (1e-9), with `VictoriaMetrics` the number of series. Behind the raw shapes stands what this server takes for
//! a point of the answer.
//!
//! `NARTHEX_DASHBOARDS_FOLDER` keeps the written stores for the next run, `NARTHEX_DASHBOARDS_ONLY` takes
//! only shapes whose names hold this text, `NARTHEX_DASHBOARDS_BINARY` measures another binary of this server.
#![expect(clippy::print_stdout, reason = "the figures are the purpose")]

mod answers;
mod data;
#[path = "../http.rs"]
mod http;
#[path = "../../storage/benches/common/parameter.rs"]
mod parameter;
mod servers;
mod shapes;

use std::path::{Path, PathBuf};

use anyhow::Context;
use narthex_storage::{Clock, SystemClock};
use parameter::parameter;
use servers::{Kind, Server};
use shapes::Shape;

/// A set and what is asked of it.
struct Set {
    name: &'static str,
    hosts: usize,
    hours: usize,
    shapes: &'static [Shape],
}

/// What one shape took: seconds a query by server, in the servers' order.
struct Row {
    shape: &'static Shape,
    seconds: Vec<f64>,
}

/// The servers' folders, and when the data end, in seconds; written once.
fn servers(set: &Set, folder: &Path) -> anyhow::Result<(Vec<Server>, i64)> {
    let mut programs = vec![(
        Kind::Narthex,
        parameter(
            "NARTHEX_DASHBOARDS_BINARY",
            env!("CARGO_BIN_EXE_narthex").to_owned(),
        ),
    )];
    for (kind, variable) in [
        (Kind::Prometheus, "NARTHEX_PROMETHEUS"),
        (Kind::VictoriaMetrics, "NARTHEX_VICTORIA_METRICS"),
    ] {
        programs.extend(std::env::var(variable).ok().map(|program| (kind, program)));
    }
    let mut servers = Vec::new();
    for (kind, program) in &programs {
        servers.push(Server::start(
            *kind,
            program,
            &folder.join(format!("{kind:?}")),
        )?);
    }
    let note = folder.join("end");
    let end = if let Ok(text) = std::fs::read_to_string(&note) {
        text.trim().parse()?
    } else {
        let end = (SystemClock::new().now() / 60_000 - 1) * 60;
        let rounds = set.hours * 3_600_000 / data::STEP_MS as usize;
        let start = end * 1_000 - rounds as i64 * data::STEP_MS;
        data::messages(set.hosts, rounds, start, |message| {
            servers.iter().try_for_each(|server| server.write(message))
        })?;
        std::fs::write(&note, end.to_string())?;
        end
    };
    for server in &servers {
        server.settle()?;
    }
    Ok((servers, end))
}

/// Seconds of processor time a query.
fn measure(server: &Server, shape: &Shape, end: i64, seconds: f64) -> anyhow::Result<f64> {
    const QUERIES_MIN: u32 = 3;
    let began = server.processor_seconds()?;
    let mut queries = 0;
    loop {
        server.ask(shape, end)?;
        queries += 1;
        let used = server.processor_seconds()? - began;
        if used >= seconds && queries >= QUERIES_MIN {
            return Ok(used / f64::from(queries));
        }
    }
}

fn run(set: &Set, folder: &Path, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let seconds = parameter("NARTHEX_DASHBOARDS_SECONDS", 0.3_f64);
    let only = parameter("NARTHEX_DASHBOARDS_ONLY", String::new());
    let (servers, end) = servers(set, folder)?;
    let series = set.hosts * data::SERIES_OF_HOST;
    println!("{}: {series} series over {} h at 15 s", set.name, set.hours);
    print!("{:36}", "milliseconds of processor time");
    for server in &servers {
        print!("{:>16}", format!("{:?}", server.kind));
    }
    println!("{:>20}", "ratios");
    for shape in set.shapes {
        if !shape.name.contains(only.as_str()) {
            continue;
        }
        let mut answers = Vec::new();
        for server in &servers {
            let answer = server.ask(shape, end).context(shape.name)?;
            answers.push((server.kind, answer));
        }
        let differences = answers::differences(&answers).context(shape.name)?;
        let points = answers[0]
            .1
            .windows(2)
            .filter(|pair| pair == b"\"]")
            .count();
        drop(answers);
        let mut row = Row {
            shape,
            seconds: Vec::new(),
        };
        for server in &servers {
            row.seconds
                .push(measure(server, shape, end, seconds).context(shape.name)?);
        }
        print!("{:36}", shape.name);
        for seconds in &row.seconds {
            print!("{:16.3}", seconds * 1e3);
        }
        for seconds in &row.seconds[1..] {
            print!("{:10.3}", row.seconds[0] / seconds);
        }
        if shape.name.starts_with("raw") {
            print!("  {:.0} ns a point", row.seconds[0] * 1e9 / points as f64);
        }
        println!(
            "{}{differences}",
            if shape.is_heavy { "  heavy" } else { "" }
        );
        rows.push(row);
    }
    Ok(())
}

/// The geometric mean of the ratios to a server, over rows that pass.
fn mean(rows: &[Row], server: usize, passes: impl Fn(&Row) -> bool) -> Option<f64> {
    let ratios = rows.iter().filter(|row| passes(row));
    let logs: Vec<f64> = ratios
        .filter_map(|row| Some((row.seconds[0] / row.seconds.get(server)?).ln()))
        .collect();
    (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
}

fn main() -> anyhow::Result<()> {
    let sizes = parameter("NARTHEX_DASHBOARDS_SERIES", "10000,5000".to_owned());
    let (hours, day) = sizes
        .split_once(',')
        .context("NARTHEX_DASHBOARDS_SERIES is two numbers")?;
    let hosts = |series: &str| -> anyhow::Result<usize> {
        Ok(series
            .parse::<usize>()?
            .div_ceil(data::SERIES_OF_HOST)
            .max(4))
    };
    let sets = [
        Set {
            name: "hours",
            hosts: hosts(hours)?,
            hours: 6,
            shapes: shapes::OF_HOURS,
        },
        Set {
            name: "day",
            hosts: hosts(day)?,
            hours: 24,
            shapes: shapes::OF_DAY,
        },
    ];
    let temporary = tempfile::tempdir()?;
    let folder = std::env::var_os("NARTHEX_DASHBOARDS_FOLDER")
        .map_or_else(|| temporary.path().to_owned(), PathBuf::from);
    let mut rows = Vec::new();
    for set in &sets {
        let folder = folder.join(format!("{}-{}", set.name, set.hosts));
        std::fs::create_dir_all(&folder)?;
        run(set, &folder, &mut rows)?;
    }
    for (server, name) in [(1, "the first peer"), (2, "the second peer")] {
        let (all, heavy) = (
            mean(&rows, server, |_| true),
            mean(&rows, server, |row| row.shape.is_heavy),
        );
        if let (Some(all), Some(heavy)) = (all, heavy) {
            println!("geometric mean against {name}: {all:.3}, of the heavy shapes {heavy:.3}");
        }
    }
    Ok(())
}
