//! The query protocol of older clients: forms in, XML out.

use crate::cloud::{Cloud, raw_text, request};

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
const NAMESPACE: &str = "http://queue.amazonaws.com/doc/2012-11-05/";

/// Sends a form and returns the status and the document. Checks that the document has the request identifier of the
/// header, and replaces it with `ID`.
async fn post(cloud: &Cloud, path: &str, form: &str) -> (u16, String) {
    let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
    let form = form.replace(' ', "");
    call(cloud, &request("POST", path, headers, &form)).await
}

async fn call(cloud: &Cloud, request: &str) -> (u16, String) {
    let response = raw_text(&cloud.endpoint, request).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let id = head
        .lines()
        .find_map(|line| line.strip_prefix("x-amzn-requestid: "))
        .expect("a request identifier");
    assert!(
        body.contains(&format!("<RequestId>{id}</RequestId>")),
        "{body}"
    );
    (status, body.replace(id, "ID"))
}

fn response(action: &str, result: &str) -> (u16, String) {
    let metadata = "<ResponseMetadata><RequestId>ID</RequestId></ResponseMetadata>";
    let document = format!(
        "{HEAD}<{action}Response xmlns=\"{NAMESPACE}\">{result}{metadata}</{action}Response>"
    );
    (200, document)
}

fn error(status: u16, code: &str, message: &str) -> (u16, String) {
    let document = format!(
        "{HEAD}<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>Sender</Type><Code>{code}</Code>\
         <Message>{message}</Message><Detail></Detail></Error><RequestId>ID</RequestId></ErrorResponse>"
    );
    (status, document)
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).expect(before);
    rest.split_once(after).expect(after).0
}

async fn with_queue(name: &str) -> (Cloud, String) {
    let cloud = Cloud::for_everybody().await;
    let form = format!("Action=CreateQueue&Version=2012-11-05&QueueName={name}");
    let (status, body) = post(&cloud, "/", &form).await;
    assert_eq!(status, 200, "{body}");
    (cloud, format!("/000000000000/{name}"))
}

#[tokio::test]
async fn operations_on_queues() {
    let cloud = Cloud::for_everybody().await;
    let url = "http://x/000000000000/q";
    let created = post(
        &cloud,
        "/",
        "Action=CreateQueue & Version=2012-11-05 & QueueName=q & Attribute.1.Name=VisibilityTimeout & \
         Attribute.1.Value=7 & Attribute.2.Name=DelaySeconds & Attribute.2.Value=3 & Tag.1.Key=team & Tag.1.Value=a%26b",
    );
    let named = format!("<CreateQueueResult><QueueUrl>{url}</QueueUrl></CreateQueueResult>");
    assert_eq!(created.await, response("CreateQueue", &named));
    // A form can be the query of a GET.
    let get = request(
        "GET",
        "/?Action=GetQueueUrl&Version=2012-11-05&QueueName=q",
        "",
        "",
    );
    let named = format!("<GetQueueUrlResult><QueueUrl>{url}</QueueUrl></GetQueueUrlResult>");
    assert_eq!(call(&cloud, &get).await, response("GetQueueUrl", &named));
    let listed = post(&cloud, "/", "Action=ListQueues&Version=2012-11-05").await;
    let named = format!("<ListQueuesResult><QueueUrl>{url}</QueueUrl></ListQueuesResult>");
    assert_eq!(listed, response("ListQueues", &named));
    // botocore sends `Tags`, the documentation has `Tag`.
    let tagged =
        format!("Action=TagQueue&Version=2012-11-05&QueueUrl={url}&Tags.1.Key=more&Tags.1.Value=");
    assert_eq!(post(&cloud, "/", &tagged).await, response("TagQueue", ""));
    let tags = post(&cloud, "/000000000000/q", "Action=ListQueueTags").await;
    let both = "<ListQueueTagsResult><Tag><Key>more</Key><Value></Value></Tag>\
                <Tag><Key>team</Key><Value>a&amp;b</Value></Tag></ListQueueTagsResult>";
    assert_eq!(tags, response("ListQueueTags", both));
    let untagged = post(
        &cloud,
        "/000000000000/q",
        "Action=UntagQueue&TagKey.1=team&TagKey.2=more",
    );
    assert_eq!(untagged.await, response("UntagQueue", ""));
    let set = "Action=SetQueueAttributes&Attribute.Name=VisibilityTimeout&Attribute.Value=9";
    assert_eq!(
        post(&cloud, "/000000000000/q", set).await,
        response("SetQueueAttributes", "")
    );
    // The numbers order the items.
    let some =
        "Action=GetQueueAttributes&AttributeName.10=DelaySeconds&AttributeName.9=VisibilityTimeout";
    let values = "<GetQueueAttributesResult>\
                  <Attribute><Name>DelaySeconds</Name><Value>3</Value></Attribute>\
                  <Attribute><Name>VisibilityTimeout</Name><Value>9</Value></Attribute></GetQueueAttributesResult>";
    assert_eq!(
        post(&cloud, "/000000000000/q", some).await,
        response("GetQueueAttributes", values)
    );
    let deleted = post(&cloud, "/000000000000/q", "Action=DeleteQueue").await;
    assert_eq!(deleted, response("DeleteQueue", ""));
    let gone = error(
        400,
        "AWS.SimpleQueueService.NonExistentQueue",
        "The specified queue does not exist.",
    );
    assert_eq!(
        post(&cloud, "/000000000000/q", "Action=PurgeQueue").await,
        gone
    );
}

#[tokio::test]
async fn a_message_arrives_with_its_attributes_and_is_deleted() {
    let (cloud, path) = with_queue("q").await;
    let send = "Action=SendMessage & MessageBody=%3Ca%3E%0D%0A & MessageAttribute.1.Name=count & \
                MessageAttribute.1.Value.DataType=Number & MessageAttribute.1.Value.StringValue=42 & \
                MessageAttribute.2.Name=raw & MessageAttribute.2.Value.DataType=Binary & \
                MessageAttribute.2.Value.BinaryValue=AJ%2F%2F & MessageSystemAttribute.1.Name=AWSTraceHeader & \
                MessageSystemAttribute.1.Value.DataType=String & MessageSystemAttribute.1.Value.StringValue=Root";
    let (status, sent) = post(&cloud, &path, send).await;
    let id = between(&sent, "<MessageId>", "</MessageId>").to_owned();
    let digest = between(
        &sent,
        "<MD5OfMessageAttributes>",
        "</MD5OfMessageAttributes>",
    )
    .to_owned();
    let system = between(
        &sent,
        "<MD5OfMessageSystemAttributes>",
        "</MD5OfMessageSystemAttributes>",
    );
    // The MD5 of "<a>\r\n".
    let body_digest = "22550b5091114a18ad2b5039ee63e536";
    let result = format!(
        "<SendMessageResult><MessageId>{id}</MessageId><MD5OfMessageBody>{body_digest}</MD5OfMessageBody>\
         <MD5OfMessageAttributes>{digest}</MD5OfMessageAttributes>\
         <MD5OfMessageSystemAttributes>{system}</MD5OfMessageSystemAttributes></SendMessageResult>"
    );
    assert_eq!((status, sent.clone()), response("SendMessage", &result));

    let receive = "Action=ReceiveMessage & AttributeName.1=ApproximateReceiveCount & AttributeName.2=AWSTraceHeader & \
                   MessageAttributeName.1=All & MaxNumberOfMessages=10 & VisibilityTimeout=60 & WaitTimeSeconds=0";
    let (status, received) = post(&cloud, &path, receive).await;
    let handle = between(&received, "<ReceiptHandle>", "</ReceiptHandle>").to_owned();
    let result = format!(
        "<ReceiveMessageResult><Message><MessageId>{id}</MessageId><ReceiptHandle>{handle}</ReceiptHandle>\
         <MD5OfBody>{body_digest}</MD5OfBody><Body>&lt;a&gt;&#13;\n</Body>\
         <Attribute><Name>AWSTraceHeader</Name><Value>Root</Value></Attribute>\
         <Attribute><Name>ApproximateReceiveCount</Name><Value>1</Value></Attribute>\
         <MessageAttribute><Name>count</Name><Value><DataType>Number</DataType><StringValue>42</StringValue></Value>\
         </MessageAttribute>\
         <MessageAttribute><Name>raw</Name><Value><DataType>Binary</DataType><BinaryValue>AJ//</BinaryValue></Value>\
         </MessageAttribute>\
         <MD5OfMessageAttributes>{digest}</MD5OfMessageAttributes></Message></ReceiveMessageResult>"
    );
    assert_eq!(
        (status, received.clone()),
        response("ReceiveMessage", &result)
    );

    let change =
        format!("Action=ChangeMessageVisibility&VisibilityTimeout=30&ReceiptHandle={handle}");
    assert_eq!(
        post(&cloud, &path, &change).await,
        response("ChangeMessageVisibility", "")
    );
    let delete = format!("Action=DeleteMessage&ReceiptHandle={handle}");
    assert_eq!(
        post(&cloud, &path, &delete).await,
        response("DeleteMessage", "")
    );
    let empty = post(&cloud, &path, "Action=ReceiveMessage").await;
    let result = "<ReceiveMessageResult></ReceiveMessageResult>";
    assert_eq!(empty, response("ReceiveMessage", result));
}

#[tokio::test]
async fn a_batch_returns_a_result_for_each_entry() {
    let (cloud, path) = with_queue("q").await;
    let send = "Action=SendMessageBatch & SendMessageBatchRequestEntry.1.Id=a & \
                SendMessageBatchRequestEntry.1.MessageBody=x & SendMessageBatchRequestEntry.2.Id=b & \
                SendMessageBatchRequestEntry.2.MessageBody=x & SendMessageBatchRequestEntry.2.DelaySeconds=901";
    let (status, sent) = post(&cloud, &path, send).await;
    let id = between(&sent, "<MessageId>", "</MessageId>");
    let result = format!(
        "<SendMessageBatchResult><SendMessageBatchResultEntry><Id>a</Id><MessageId>{id}</MessageId>\
         <MD5OfMessageBody>9dd4e461268c8034f5c8564e155c67a6</MD5OfMessageBody></SendMessageBatchResultEntry>\
         <BatchResultErrorEntry><Id>b</Id><SenderFault>true</SenderFault><Code>InvalidParameterValue</Code>\
         <Message>Value 901 for parameter DelaySeconds is invalid. Reason: Must be &gt;= 0 and &lt;= 900, if provided.\
         </Message></BatchResultErrorEntry></SendMessageBatchResult>"
    );
    assert_eq!(
        (status, sent.clone()),
        response("SendMessageBatch", &result)
    );
    let (_, received) = post(&cloud, &path, "Action=ReceiveMessage").await;
    let handle = between(&received, "<ReceiptHandle>", "</ReceiptHandle>");
    for (action, more) in [
        (
            "ChangeMessageVisibilityBatch",
            "&ChangeMessageVisibilityBatchRequestEntry.1.VisibilityTimeout=9",
        ),
        ("DeleteMessageBatch", ""),
    ] {
        let entry = format!("{action}RequestEntry.1");
        let form = format!("Action={action}&{entry}.Id=a&{entry}.ReceiptHandle={handle}{more}");
        let result = format!(
            "<{action}Result><{action}ResultEntry><Id>a</Id></{action}ResultEntry></{action}Result>"
        );
        assert_eq!(post(&cloud, &path, &form).await, response(action, &result));
    }
}

#[tokio::test]
async fn errors_have_the_codes_and_statuses_of_the_protocol() {
    let (cloud, path) = with_queue("q").await;
    assert_eq!(
        post(&cloud, &path, "Action=PurgeQueue").await,
        response("PurgeQueue", "")
    );
    for (form, status, code) in [
        (
            "Action=PurgeQueue",
            403,
            "AWS.SimpleQueueService.PurgeQueueInProgress",
        ),
        ("Action=SendMessage", 400, "MissingParameter"),
        (
            "Action=SendMessage&MessageBody=a&DelaySeconds=soon",
            400,
            "MalformedInput",
        ),
        (
            "Action=SendMessageBatch",
            400,
            "AWS.SimpleQueueService.EmptyBatchRequest",
        ),
        (
            "Action=SendMessage&MessageBody=%01",
            400,
            "InvalidMessageContents",
        ),
        (
            "Action=DeleteMessage&ReceiptHandle=x",
            400,
            "ReceiptHandleIsInvalid",
        ),
        ("Action=Unknown", 400, "InvalidAction"),
        ("Attribute.x.Name=a", 400, "MissingParameter"),
        (
            "Action=SetQueueAttributes&Attribute.x.Name=a",
            400,
            "MalformedInput",
        ),
        (
            "Action=SetQueueAttributes&Attribute=a&Attribute.1.Name=b",
            400,
            "MalformedInput",
        ),
    ] {
        let (found, body) = post(&cloud, &path, form).await;
        let message = between(&body, "<Message>", "</Message>").to_owned();
        assert_eq!((found, body), error(status, code, &message), "{form}");
    }
}
