"""Runs calls of the AWS CLI in forks of one process, since starting Python and reading the services' models takes most of a call.

Usage: aws_server.py SOCKET. The client below connects, and passes its arguments, environment and standard files.
"""

import functools
import json
import os
import signal
import socket
import sys
import traceback

# The client is started for each call, so it imports little.
CLIENT = """
import array, json, os, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect({path!r})
call = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd()]).encode()
connection.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
connection.sendall(call)
connection.shutdown(socket.SHUT_WR)
status = connection.recv(1)
os._exit(status[0] if status else 255)
"""
SERVICES = ("ec2", "s3", "sqs", "sts", "cloudformation", "cloudwatch", "logs", "service-quotas")


def run(connection):
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    call = b""
    while block := connection.recv(65536):
        call += block
    arguments, environment, folder = json.loads(call)
    for target, file in enumerate(files):
        os.dup2(file, target)
    os.chdir(folder)
    # The CLI sets this one when it is imported.
    data = os.environ["AWS_DATA_PATH"]
    os.environ.clear()
    os.environ.update(environment, AWS_DATA_PATH=data)
    sys.argv = ["aws", *arguments]
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(os.dup(number), mode) for number, mode in enumerate("rww"))
    from awscli.clidriver import main
    try:
        status = main()
    except SystemExit as exit:
        status = exit.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([status & 255]))


def serve(path):
    from awscli import clidriver
    from awscli.botocore.loaders import JSONFileLoader

    # Read once, here.
    JSONFileLoader.load_file = functools.cache(JSONFileLoader.load_file)
    JSONFileLoader.__hash__, JSONFileLoader.__eq__ = lambda self: 0, lambda self, other: True
    session = clidriver.create_clidriver().session
    for service in SERVICES:
        session.get_service_model(service)
        session.get_component("data_loader").load_service_model(service, "endpoint-rule-set-1")
        session.get_component("data_loader").load_service_model(service, "paginators-1")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            status = 1
            try:
                listener.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                run(connection)
                status = 0
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(status)
        connection.close()


if __name__ == "__main__":
    serve(sys.argv[1])
