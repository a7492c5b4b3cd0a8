//! Function URLs.

use aws_sdk_lambda::types::FunctionUrlAuthType;
use serde_json::Value;

use super::{cloud, create};
use crate::cloud::{Cloud, raw, request};

/// Posts to a path of a function URL.
async fn post(cloud: &Cloud, path: &str, body: &str) -> (u16, String) {
    let headers = "Content-Type: application/json\r\n";
    raw(&cloud.endpoint, &request("POST", path, headers, body)).await
}

#[tokio::test]
async fn a_function_url_takes_requests_that_the_policy_allows() {
    let cloud = cloud().await;
    let lambda = cloud.lambda();
    let script = "def handle(event, request_id):\n    if event['rawPath'] == '/plain': return {'event': event}\n    if event['rawPath'] == '/bad': return {'statusCode': 'x'}\n    if event['rawPath'] == '/fails': raise ValueError('no')\n    return {'statusCode': 201, 'headers': {'X-Mine': '1'}, 'body': 'aGk=', 'isBase64Encoded': True}";
    create(&lambda, "f", script).send().await.unwrap();
    let make = lambda.create_function_url_config().function_name("f");
    let make = make.auth_type(FunctionUrlAuthType::None);
    let url = make.send().await.unwrap().function_url;
    let base = url.strip_prefix(&cloud.endpoint);
    let base = base.expect("the URL is one of localcloud");
    assert_eq!(post(&cloud, base, "{}").await.0, 403);
    let permit = lambda.add_permission().function_name("f");
    let permit = permit.statement_id("all").principal("*");
    let permit = permit.function_url_auth_type(FunctionUrlAuthType::None);
    let permit = permit.action("lambda:InvokeFunctionUrl");
    permit.send().await.unwrap();

    assert_eq!(post(&cloud, base, "{}").await, (201, "hi".to_owned()));
    let (status, body) = post(&cloud, &format!("{base}plain?a=1&a=2"), "{\"b\":1}").await;
    assert_eq!(status, 200);
    let event = &serde_json::from_str::<Value>(&body).unwrap()["event"];
    assert_eq!(event["version"], "2.0");
    assert_eq!(event["body"], "{\"b\":1}");
    assert_eq!(event["queryStringParameters"]["a"], "1,2");
    assert_eq!(event["requestContext"]["http"]["method"], "POST");
    assert_eq!(event["requestContext"]["http"]["path"], "/plain");
    assert_eq!(post(&cloud, &format!("{base}bad"), "").await.0, 502);
    assert_eq!(post(&cloud, &format!("{base}fails"), "").await.0, 502);
    assert_eq!(post(&cloud, "/_lambda-url/none/", "").await.0, 403);

    let update = lambda.update_function_url_config().function_name("f");
    let update = update.auth_type(FunctionUrlAuthType::AwsIam);
    update.send().await.unwrap();
    assert_eq!(post(&cloud, base, "{}").await.0, 403);
    let list = lambda.list_function_url_configs().function_name("f");
    let list = list.send().await.unwrap();
    assert_eq!(list.function_url_configs().len(), 1);
    let delete = lambda.delete_function_url_config().function_name("f");
    delete.send().await.unwrap();
    assert_eq!(post(&cloud, base, "{}").await.0, 403);
    cloud.stop().await;
}
