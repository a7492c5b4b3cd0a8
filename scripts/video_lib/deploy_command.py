"""Deploys Muster's functions to AWS, or to a local cloud at --endpoint-url. Run again it changes what is there."""

import argparse
import json
import os
import sys

from botocore.exceptions import BotoCoreError, ClientError, WaiterError

from . import deploy


def main():
    arguments = parse_arguments()
    functions = deploy.changed(deploy.FUNCTIONS, arguments.name, arguments.memory, arguments.timeout)
    session = deploy.session_from_environment(arguments.endpoint_url, arguments.region)
    try:
        made = deploy.deploy(session, arguments.prefix, arguments.package, arguments.mode, functions, dict(arguments.set),
                             arguments.public_url)
    except (BotoCoreError, ClientError, WaiterError, OSError) as error:
        sys.exit(f"muster: the functions could not be deployed: {error}")
    print(json.dumps(made, indent=2))
    if arguments.mode == deploy.STREAM and not arguments.public_url:
        print("The stream's URL takes signed requests only: others get 403. For clients that sign nothing, deploy with --public-url.",
              file=sys.stderr)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/deploy-lambda", description=__doc__)
    parser.add_argument("--prefix", required=True, help="begins the names of buckets and queues. Bucket names are unique on all of AWS")
    parser.add_argument("--package", metavar="FILE", required=True, help="what scripts/package-lambda made")
    parser.add_argument("--mode", choices=[*deploy.CLIP_MODES, deploy.STREAM], default="frame",
                        help="one frame a clip, ten, a timeline, or a stream of frames by function URL (default: frame)")
    parser.add_argument("--public-url", action="store_true",
                        help="the stream's URL also takes unsigned requests (default: signed requests only)")
    parser.add_argument("--endpoint-url", metavar="URL", default=os.environ.get("AWS_ENDPOINT_URL"), help="a local cloud")
    parser.add_argument("--region")
    handlers = ", ".join(deploy.FUNCTIONS)
    parser.add_argument("--name", type=pair(str), action="append", default=[], metavar="HANDLER=NAME", help=f"another name for {handlers}")
    parser.add_argument("--memory", type=pair(int), action="append", default=[], metavar="HANDLER=MB")
    parser.add_argument("--timeout", type=pair(int), action="append", default=[], metavar="HANDLER=SECONDS")
    parser.add_argument("--set", type=variable, action="append", default=[], metavar="NAME=VALUE",
                        help="a setting of all functions, such as MUSTER_FRAMES_PER_SECOND=5")
    return parser.parse_args()


def pair(kind):
    def parse(text):
        handler, _, value = text.partition("=")
        if handler not in deploy.FUNCTIONS:
            raise argparse.ArgumentTypeError(f"{handler!r} is none of {', '.join(deploy.FUNCTIONS)}")
        return handler, kind(value)

    return parse


def variable(text):
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError("give NAME=VALUE")
    return name, value


if __name__ == "__main__":
    main()
