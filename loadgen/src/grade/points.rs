//! `loadgen grade --rubric`: points for one system or for a roster of them, by AWS calls and HTTP alone.

mod course_cloud;
mod output;
mod run;
mod submission;

use std::fs;
use std::path::Path;

use anyhow::Context;
use futures::future::BoxFuture;
use platform::aws::{Aws, AwsArgs};

use super::args::{GradeArgs, web_tier};
use super::prepare;
use crate::cli::TargetArgs;
use crate::drive::Request;
use crate::photos;
use crate::report::graded::Graded;
use crate::report::points::Points;
use crate::report::rubric::{self, Rubric};
use course_cloud::CourseCloud;
use run::Observed;
use submission::{Credentials, Student};

/// Gives points and writes the reports. Returns true unless a total is below `--min-points`.
///
/// # Errors
/// When rubric, photos or roster cannot be used, or a report cannot be written. A submission that cannot be graded is no
/// error: it gets no points.
pub fn points(args: &GradeArgs) -> BoxFuture<'_, anyhow::Result<bool>> {
    Box::pin(grade_all(args))
}

async fn grade_all(args: &GradeArgs) -> anyhow::Result<bool> {
    let (text, rubric) = read_rubric(args.points.rubric_file())?;
    if args.points.print_rubric {
        print!("{text}");
        return Ok(true);
    }
    anyhow::ensure!(
        args.requests > 0,
        "there is nothing to send; give --requests 1 or more"
    );
    let requests = requests(args)?;
    let mut all = Vec::new();
    for (student, submission) in submissions(args, &rubric)? {
        let name = output::name_of(&student);
        println!("grading   {name}");
        let observed = match submission {
            Ok(system) => grade(args, &rubric, &system, &requests).await,
            Err(error) => Err(error),
        };
        let graded = match observed {
            Ok(observed) => observed.graded(&rubric, student),
            Err(error) => {
                Graded::without_run(student, Points::none(&rubric, &format!("{error:#}")))
            }
        };
        println!("\n{graded}");
        output::write_reports(args, &rubric, &graded)?;
        all.push(graded);
        // An interrupted roster keeps the grades so far.
        output::write_grades(args, &rubric, &all)?;
        println!();
    }
    let least = args.points.min_points.unwrap_or(f64::NEG_INFINITY);
    Ok(all.iter().all(|graded| graded.points.total >= least))
}

/// Where a system is, and how to reach its account.
struct System {
    target: TargetArgs,
    aws: AwsArgs,
    /// `None`: the default credentials of AWS's SDK.
    credentials: Option<Credentials>,
}

async fn grade(
    args: &GradeArgs,
    rubric: &Rubric,
    system: &System,
    requests: &[Request],
) -> anyhow::Result<Observed> {
    let aws = match &system.credentials {
        Some(it) => Aws::connect_as(&system.aws, &it.access_key, it.secret_key.expose()).await,
        None => Aws::connect(&system.aws).await,
    };
    let cloud = CourseCloud::new(aws, &system.aws.prefix);
    if args.points.clean {
        cloud
            .clean()
            .await
            .context("buckets and queues cannot be emptied")?;
    }
    run::observe(rubric, cloud, &system.target, requests).await
}

/// Returns whom to grade, and the system of each.
fn submissions(
    args: &GradeArgs,
    rubric: &Rubric,
) -> anyhow::Result<Vec<(Student, anyhow::Result<System>)>> {
    let options = &args.points;
    let submitted = |zip: &Path, prefix: &str| {
        let credentials = submission::read(zip, &rubric.submission.files)?;
        Ok(System {
            target: TargetArgs {
                url: credentials.web_tier.clone(),
                ..args.target.clone()
            },
            aws: AwsArgs {
                prefix: prefix.to_owned(),
                ..args.aws.clone()
            },
            credentials: Some(credentials),
        })
    };
    if let Some(roster) = &options.roster {
        let text = fs::read_to_string(roster)
            .with_context(|| format!("cannot read {}", roster.display()))?;
        let students = submission::parse_roster(&text)
            .with_context(|| format!("{} cannot be used", roster.display()))?;
        let graded = students.into_iter().map(|student| {
            let zip = submission::find(&options.submissions, &student.id);
            let system = zip.and_then(|zip| submitted(&zip, &student.id));
            (student, system)
        });
        return Ok(graded.collect());
    }
    let student = Student {
        id: args.aws.prefix.clone(),
        ..Student::default()
    };
    if let Some(zip) = &options.submission {
        let system = submitted(zip, &args.aws.prefix);
        return Ok(vec![(student, system)]);
    }
    let mut target = args.target.clone();
    if let Some(address) = &options.ip_addr {
        target.url = web_tier(address).map_err(|why| anyhow::anyhow!("--ip-addr: {why}"))?;
    }
    let system = System {
        target,
        aws: args.aws.clone(),
        credentials: None,
    };
    Ok(vec![(student, Ok(system))])
}

fn read_rubric(file: Option<&Path>) -> anyhow::Result<(String, Rubric)> {
    let (text, name) = match file {
        Some(file) => {
            let text = fs::read_to_string(file)
                .with_context(|| format!("cannot read the rubric {}", file.display()))?;
            (text, file.display().to_string())
        }
        None => (rubric::DEFAULT.to_owned(), "the built-in one".to_owned()),
    };
    let rubric =
        Rubric::parse(&text).with_context(|| format!("the rubric {name} cannot be used"))?;
    Ok((text, rubric))
}

fn requests(args: &GradeArgs) -> anyhow::Result<Vec<Request>> {
    let (Some(folder), Some(csv)) = (&args.points.img_folder, &args.points.pred_file) else {
        return prepare(args);
    };
    let requests = photos::requests(folder, csv, args.requests)?;
    // One name twice would be one object, and cost points.
    let mut names: Vec<_> = requests.iter().map(|request| &request.file_name).collect();
    names.sort_unstable();
    names.dedup();
    anyhow::ensure!(
        names.len() == requests.len(),
        "{} has {} photos; give --num_requests {} at most",
        folder.display(),
        names.len(),
        names.len()
    );
    Ok(requests)
}
