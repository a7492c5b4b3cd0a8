//! What AWS's own policies allow of the services that localcloud has, in short.

use serde_json::{Value, json};

/// What the ARNs of AWS's own policies begin with.
pub const AWS_POLICY: &str = "arn:aws:iam::aws:policy/";

/// The policies by the end of their ARNs, with the actions that they allow on every resource.
const POLICIES: &str = "\
    AWSLambdaExecute logs:* s3:GetObject s3:PutObject
    AWSLambda_FullAccess lambda:* logs:* cloudwatch:*
    AWSLambda_ReadOnlyAccess lambda:Get* lambda:List*
    AdministratorAccess *
    AmazonEC2FullAccess ec2:* cloudwatch:*
    AmazonEC2ReadOnlyAccess ec2:Describe* ec2:Get*
    AmazonS3FullAccess s3:*
    AmazonS3ReadOnlyAccess s3:Get* s3:List* s3:Describe*
    AmazonSQSFullAccess sqs:*
    AmazonSQSReadOnlyAccess sqs:Get* sqs:List*
    CloudWatchFullAccess cloudwatch:* logs:*
    CloudWatchLogsFullAccess logs:*
    CloudWatchReadOnlyAccess cloudwatch:Describe* cloudwatch:Get* cloudwatch:List* logs:Get* logs:Describe* logs:FilterLogEvents
    IAMFullAccess iam:*
    service-role/AWSLambdaBasicExecutionRole logs:CreateLogGroup logs:CreateLogStream logs:PutLogEvents
    service-role/AWSLambdaRole lambda:InvokeFunction
    service-role/AWSLambdaSQSQueueExecutionRole sqs:ReceiveMessage sqs:DeleteMessage sqs:GetQueueAttributes \
    logs:CreateLogGroup logs:CreateLogStream logs:PutLogEvents";

fn policies() -> impl Iterator<Item = (&'static str, Vec<&'static str>)> {
    POLICIES.lines().map(|line| {
        let mut words = line.split_whitespace();
        (words.next().unwrap_or_default(), words.collect())
    })
}

/// Returns the document of one of AWS's policies; `None` if localcloud does not know what it allows.
pub fn document(arn: &str) -> Option<Value> {
    let name = arn.strip_prefix(AWS_POLICY)?;
    let (_, actions) = policies().find(|(known, _)| *known == name)?;
    let statement = json!({ "Effect": "Allow", "Action": actions, "Resource": "*" });
    Some(json!({ "Version": "2012-10-17", "Statement": [statement] }))
}

/// Returns the ARNs of the known policies, in order.
pub fn arns() -> impl Iterator<Item = String> {
    policies().map(|(name, _)| format!("{AWS_POLICY}{name}"))
}
