"""Runs calls of the AWS CLI in forks of one process: starting Python, reading models and registering handlers takes most of a call.

Usage: aws_server.py SOCKET. The client below connects, and passes its arguments, environment and standard files.
"""

import marshal
import os
import signal
import socket
import sys
import traceback

# The client is started for each call: importing socket and json would double its time.
CLIENT = """
import _socket, array, marshal, os, sys
connection = _socket.socket(_socket.AF_UNIX)
connection.connect({path!r})
call = marshal.dumps([sys.argv[1:], dict(os.environ), os.getcwd()])
connection.sendmsg([b"."], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))])
connection.sendall(call)
connection.shutdown(_socket.SHUT_WR)
status = connection.recv(1)
os._exit(status[0] if status else 255)
"""
COMMANDS = ("cloudformation", "cloudwatch", "ec2", "iam", "logs", "s3", "s3api", "service-quotas", "sqs", "sts")


def run(driver, connection):
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    call = b""
    while block := connection.recv(65536):
        call += block
    arguments, environment, folder = marshal.loads(call)
    for target, file in enumerate(files):
        os.dup2(file, target)
    os.chdir(folder)
    # The CLI sets this one when it is imported.
    data = os.environ["AWS_DATA_PATH"]
    os.environ.clear()
    os.environ.update(environment, AWS_DATA_PATH=data)
    sys.argv = ["aws", *arguments]
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(os.dup(number), mode) for number, mode in enumerate("rww"))
    try:
        status = driver.main()
    except SystemExit as exit:
        status = exit.code or 0
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([status & 255]))


def prepare():
    """Returns the CLI with the commands and their models read. Each call reads its own configuration and credentials."""
    from awscli.clidriver import create_clidriver
    from botocore.session import Session

    driver = create_clidriver()
    loader = driver.session.get_component("data_loader")
    # Clients read more models. They belong to another session, since a session keeps where its credentials come from.
    other = Session()
    other.register_component("data_loader", loader)
    commands = driver.create_help_command().command_table
    for name in COMMANDS:
        service = name.removesuffix("api")
        other.create_client(service, region_name="us-east-1")
        loader.load_service_model(service, "paginators-1")
        commands[name].create_help_command()
    # What is kept here is the configuration of this process.
    driver.session._config = driver.session._profile_map = None
    return driver


def serve(path):
    driver = prepare()
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
                run(driver, connection)
                status = 0
            except BaseException:  # noqa: BLE001
                traceback.print_exc()
                sys.stderr.flush()
            finally:
                os._exit(status)
        connection.close()


if __name__ == "__main__":
    serve(sys.argv[1])
