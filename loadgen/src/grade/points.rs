//! `loadgen grade --rubric`: points for one system or for a roster of them, by AWS calls and HTTP alone.

mod course;
mod output;
mod run;
mod submission;

use std::fs;
use std::path::Path;

use anyhow::Context;
use futures::future::BoxFuture;
use platform::aws::{Aws, AwsArgs, brief};
use platform::process::print;

use super::args::{GradeArgs, web_tier};
use super::cloud::{Cloud, ReplyQueues};
use super::prepare;
use crate::drive::Request;
use crate::photos;
use crate::report::graded::Graded;
use crate::report::points::Points;
use crate::report::rubric::{self, Rubric};
use crate::target::TargetArgs;
use run::Observed;
use submission::{Credentials, Student};

/// Gives points and writes the reports. Returns true unless a total is below `--min-points`.
///
/// # Errors
/// When rubric, photos, roster, the folder of submissions or the default credentials cannot be used, or a report cannot be
/// written. A submission that cannot be graded is no error: it gets no points.
pub fn points(args: &GradeArgs) -> BoxFuture<'_, anyhow::Result<bool>> {
    Box::pin(grade_all(args))
}

async fn grade_all(args: &GradeArgs) -> anyhow::Result<bool> {
    let (text, rubric) = read_rubric(args.points.rubric_file())?;
    if args.points.print_rubric {
        print(text.trim_end())?;
        return Ok(true);
    }
    anyhow::ensure!(
        args.requests > 0,
        "there is nothing to send; give --requests 1 or more"
    );
    let systems = submissions(args, &rubric)?;
    if systems
        .iter()
        .any(|(_, system)| matches!(system, Ok(it) if it.credentials.is_none()))
    {
        check_credentials(&args.aws).await?;
    }
    let requests = requests(args)?;
    let mut all = Vec::new();
    for (student, submission) in systems {
        let name = output::name_of(&student);
        print(format_args!("grading   {name}"))?;
        let observed = match submission {
            Ok(system) => grade(args, &rubric, &system, &requests).await,
            Err(error) => Err(error),
        };
        let graded = match observed {
            Ok(observed) => observed.graded(&rubric, student),
            Err(error) => Graded::without_run(
                student,
                Points::none(&rubric, &brief(&format!("{error:#}"))),
            ),
        };
        // If it cannot be written, the command fails after the reports are.
        let _ = print(format_args!("\n{graded}"));
        output::write_reports(args, &rubric, &graded)?;
        all.push(graded);
        // An interrupted roster keeps the grades so far.
        output::write_grades(args, &rubric, &all)?;
        print("")?;
    }
    let least = args.points.min_points.unwrap_or(f64::NEG_INFINITY);
    Ok(all.iter().all(|graded| graded.points.total >= least))
}

/// Checks the credentials of the one who grades. Without them each check of the system would cost points.
async fn check_credentials(aws: &AwsArgs) -> anyhow::Result<()> {
    let cloud = Cloud::new(Aws::connect(aws).await, &aws.prefix, ReplyQueues::One);
    if let Err(error) = cloud.workers().await {
        let why = brief(&error.to_string());
        anyhow::bail!(
            "{why}: check AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and --aws-endpoint-url"
        );
    }
    Ok(())
}

/// Where a system is, and how to reach its account.
struct SystemAccess {
    target: TargetArgs,
    aws: AwsArgs,
    /// `None`: the default credentials of AWS's SDK.
    credentials: Option<Credentials>,
}

async fn grade(
    args: &GradeArgs,
    rubric: &Rubric,
    system: &SystemAccess,
    requests: &[Request],
) -> anyhow::Result<Observed> {
    let aws = match &system.credentials {
        Some(it) => Aws::connect_as(&system.aws, &it.access_key, it.secret_key.expose()).await,
        None => Aws::connect(&system.aws).await,
    };
    let cloud = Cloud::new(aws, &system.aws.prefix, ReplyQueues::One);
    if args.points.clean {
        course::clean(&cloud)
            .await
            .context("buckets and queues cannot be emptied")?;
    }
    run::observe(rubric, cloud, &system.target, requests).await
}

/// Returns whom to grade, and the system of each.
fn submissions(
    args: &GradeArgs,
    rubric: &Rubric,
) -> anyhow::Result<Vec<(Student, anyhow::Result<SystemAccess>)>> {
    let options = &args.points;
    let submitted = |zip: &Path, prefix: &str| {
        let credentials = submission::read(zip, &rubric.submission.files)?;
        Ok(SystemAccess {
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
        let folder = &options.submissions;
        fs::read_dir(folder).with_context(|| {
            format!(
                "cannot read the folder {}; give that of the zips with --submissions",
                folder.display()
            )
        })?;
        let text = fs::read_to_string(roster)
            .with_context(|| format!("cannot read {}", roster.display()))?;
        let students = submission::parse_roster(&text)
            .with_context(|| format!("{} cannot be used", roster.display()))?;
        let graded = students.into_iter().map(|student| {
            let zip = submission::find(folder, &student.id);
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
        anyhow::ensure!(
            zip.is_file(),
            "{} is not a file; give the zip with --submission",
            zip.display()
        );
        let system = submitted(zip, &args.aws.prefix);
        return Ok(vec![(student, system)]);
    }
    let mut target = args.target.clone();
    if let Some(address) = &options.ip_addr {
        target.url = web_tier(address).map_err(|why| anyhow::anyhow!("--ip-addr: {why}"))?;
    }
    let system = SystemAccess {
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
    let requests = photos::distinct(folder, csv, args.requests)?;
    // One name twice would be one object, and cost points.
    let photos = requests.len();
    anyhow::ensure!(
        photos == args.requests,
        "{} has {photos} photos; give --num_requests {photos} at most",
        folder.display()
    );
    Ok(requests)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    #[tokio::test]
    async fn a_missing_folder_of_submissions_ends_the_command() {
        let root = tempfile::tempdir().unwrap();
        let roster = root.path().join("roster.csv");
        fs::write(&roster, "ASUID,First Name,Last Name\n17,Ada,Lovelace\n").unwrap();
        let (roster, missing) = (roster.to_str().unwrap(), root.path().join("nosuch"));
        let missing = missing.to_str().unwrap();
        let report = root.path().join("report.json");
        for (options, expected) in [
            (
                ["--roster", roster, "--submissions", missing],
                "give that of the zips with --submissions",
            ),
            (
                ["--submission", missing, "--prefix", "17"],
                "give the zip with --submission",
            ),
        ] {
            let command = ["loadgen", "grade", "--report", report.to_str().unwrap()];
            let cli = Cli::parse_from([command, options].concat());
            let Command::Grade(args) = cli.command else {
                panic!("not the command grade")
            };
            let error = points(&args).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        let files = fs::read_dir(root.path()).unwrap().count();
        assert_eq!(files, 1, "nothing was graded");
    }
}
