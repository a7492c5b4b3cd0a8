# Functions of up, down, status, image and functions. Sourced, not run.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=${here%/deploy/aws}
# Seconds between two looks at AWS, and how long a web instance and an image may take.
poll_seconds=${MUSTER_POLL_SECONDS:-5} ready_seconds=${MUSTER_READY_SECONDS:-600} bake_seconds=${MUSTER_BAKE_SECONDS:-1500}
# In any other locale, numbers may have a comma.
export AWS_PAGER='' AWS_DEFAULT_OUTPUT=text LC_ALL=C

say() { printf '%s\n' "$*" >&2; }

fail() {
    printf 'muster: %s\n' "$*" >&2
    exit 1
}

usage() {
    sed -n '2,/^set /s/^# \?//p' "$0" >&2
    exit 2
}

# value OPTION [VALUE]: fails unless the option has a value.
value() { (($# > 1)) || fail "$1 needs a value"; }

# call ARGUMENTS...: runs the AWS CLI. When it fails, says why and what to do, and fails.
call() {
    local errors
    ! { errors=$(aws "$@" 2>&1 >&3 3>&-); } 3>&1 || return 0
    explain "$errors" "aws $1 $2"
    return 1
}

# explain ERRORS COMMAND: prints an error of the AWS CLI, and what to do.
explain() {
    local advice
    case "$1" in
        *"Unable to locate credentials"* | *InvalidClientTokenId* | *"could not be found"*rofile*)
            advice="There are no valid credentials: run 'aws configure' or 'aws sso login', or set AWS_PROFILE." ;;
        *ExpiredToken* | *"has expired"*) advice="The credentials have expired: run 'aws sso login', or fetch new ones." ;;
        *AccessDenied* | *UnauthorizedOperation* | *"not authorized"*)
            advice="This user or role may not do that: use one with more permissions; docs/aws.md lists them." ;;
        *VcpuLimitExceeded* | *MaxSpotInstanceCountExceeded*)
            advice="The account's quota of vCPUs is used up: $(quota_page)" ;;
        *InsufficientInstanceCapacity*) advice="EC2 has no such instances there now: choose another type or subnet, or try later." ;;
        *"eligible for Free Tier"*)
            advice="An account on AWS's free plan may run few types: say WorkerInstanceTypes=c7i-flex.large,m7i-flex.large to"
            advice+=" deploy/aws/up (--type c7i-flex.large to deploy/aws/image), or upgrade the plan in the billing console." ;;
        *PendingVerification*) advice="AWS still verifies the account for $region, for minutes or a few hours: try again later." ;;
        *OptInRequired*)
            advice="The account's sign-up is not complete, or $region is not enabled: finish it at"
            advice+=" https://portal.aws.amazon.com/billing/signup, or see https://console.aws.amazon.com/billing/home#/account." ;;
        *InvalidInstanceType*) advice="$region does not have this type: name another one." ;;
        *BucketAlreadyExists*) advice="Another account has a bucket of this name: choose another one by --prefix." ;;
        *OperationAborted*) advice="S3 still removes a bucket of this name, for up to an hour: try again later." ;;
        *"Could not connect"* | *EndpointConnection*) advice="AWS cannot be reached: check the network, and the region $region." ;;
        *) advice="See 'aws help', or deploy/aws/status." ;;
    esac
    printf 'muster: %s failed: %s\n        %s\n' "$2" "$(tail -n 1 <<<"$1")" "$advice" >&2
}

quota_page() {
    printf 'raise it at https://%s.console.aws.amazon.com/servicequotas/home/services/ec2/quotas, or stop instances.' "$region"
}

# connect [NAME]: checks tools, credentials and region. Sets region, account and prefix, which is NAME-ACCOUNT by default.
connect() {
    local version major minor tool identity
    for tool in aws curl openssl awk; do
        command -v "$tool" >/dev/null || fail "the program $tool is missing: install it (AWS's own: https://aws.amazon.com/cli/)"
    done
    version=$(aws --version 2>&1) || true
    [[ "$version" =~ aws-cli/([0-9]+)\.([0-9]+) ]] || fail "aws --version printed: $version. Install the AWS CLI, version 2"
    major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
    ((major > 2 || (major == 2 && minor >= 4) || (major == 1 && minor >= 22))) ||
        fail "this is version $major.$minor of the AWS CLI, and 2.4 (or 1.22) is the oldest that works: https://aws.amazon.com/cli/"
    region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
    [[ -n "$region" ]] || fail "no region is chosen: set AWS_REGION, for example AWS_REGION=us-east-1, or run 'aws configure'"
    export AWS_REGION=$region AWS_DEFAULT_REGION=$region
    identity=$(call sts get-caller-identity --query '[Account,Arn]') || exit
    read -r account identity <<<"$identity"
    [[ "$identity" == arn:aws:* ]] || fail "$region is not in the partition aws, the only one that Muster's policies name:" \
        "choose another region. China, GovCloud and sovereign clouds do not work"
    prefix=${prefix:-${MUSTER_PREFIX:-${1:-muster}-$account}}
    [[ "$prefix" =~ ^[a-z][a-z0-9-]{1,46}$ ]] || fail "the prefix $prefix is not made of 2 to 47 lower-case letters, digits and" \
        "hyphens with a letter first, as names of stacks and buckets are"
    tags=Key=muster-prefix,Value=$prefix
    keys=${XDG_CONFIG_HOME:-$HOME/.config}/muster
}

# Asks before money is spent or something is removed, unless --yes is given.
confirm() {
    local reply
    [[ -z "$yes" ]] || return 0
    [[ -t 0 ]] || fail "nothing was done: say --yes, or run this in a terminal and answer"
    read -r -p "$1 [y/N] " reply
    [[ "$reply" == [yY]* ]] || fail "nothing was done"
}

# until_deadline SECONDS COMMAND...: repeats the command until it succeeds. Fails after this time.
until_deadline() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep "$poll_seconds"
    done
}

# template [FILE]: prints the template with the policies in it: JSON is YAML.
template() {
    awk -v folder="$here/" '
        match($0, /PolicyDocument: iam\/.*\.json$/) {
            match($0, /^ */)
            indent = substr($0, 1, RLENGTH) "  "
            file = folder $2
            print substr($0, 1, index($0, ":"))
            while ((status = (getline line < file)) > 0) print indent line
            if (status < 0) exit 1
            close(file)
            next
        }
        { print }' "$here/${1:-template.yaml}" || fail "a policy of $here/iam is missing: check out the repository anew"
}

# Prints NAME=DEFAULT for each parameter of the template.
defaults() {
    awk '
        /^Parameters:/ { on = 1; next }
        /^[A-Z]/ { on = 0 }
        on && /^  [A-Z][A-Za-z]*:/ { name = $1; sub(":", "", name); names[++count] = name }
        on && /^    Default:/ { sub(/^    Default: /, ""); gsub("\047", ""); values[name] = $0 }
        END { for (i = 1; i <= count; i++) print names[i] "=" values[names[i]] }' "$here/template.yaml"
}

# pattern NAME: prints the pattern of a parameter's value. Nothing if there is none.
pattern() {
    awk -v name="$1:" '
        /^  [A-Z]/ { on = $1 == name }
        on && /^    AllowedPattern:/ { sub(/^[^\047]*\047/, ""); sub(/\047$/, ""); print; exit }' "$here/template.yaml"
}

# Sets state, the state of the stack or "none"; parameters, those of the stack or else the defaults; and stored, those of the stack.
declare -gA parameters=() stored=()
read_stack() {
    local name text
    while IFS='=' read -r name text; do parameters[$name]=$text; done < <(defaults)
    if ! text=$(aws cloudformation describe-stacks --stack-name "$prefix" --query 'Stacks[0].StackStatus' 2>&1); then
        [[ "$text" == *"does not exist"* ]] || { explain "$text" "aws cloudformation describe-stacks"; exit 1; }
        state=none
        return
    fi
    # Warnings come before it.
    state=${text##*$'\n'}
    text=$(call cloudformation describe-stacks --stack-name "$prefix" \
        --query 'Stacks[0].Parameters[].[ParameterKey,ParameterValue]') || exit
    # Another version's template may have had other parameters, with which CloudFormation would refuse an update.
    while IFS=$'\t' read -r name text; do
        [[ -z "$name" || ! -v "parameters[$name]" ]] || parameters[$name]=$text stored[$name]=$text
    done <<<"$text"
}

# failures STACK [ACTION]: prints which resources of the stack failed and why, or only those that failed with DELETE_, for example.
failures() {
    say "what failed:"
    call cloudformation describe-stack-events --stack-name "$1" --query \
        "StackEvents[?contains(ResourceStatus,'${2:-}FAILED')].[LogicalResourceId,ResourceStatusReason]" >&2 || true
}

# output NAME: prints an output of the stack.
output() {
    local text
    text=$(call cloudformation describe-stacks --stack-name "$prefix" \
        --query "Stacks[0].Outputs[?OutputKey=='$1'].OutputValue|[0]") || return
    [[ "$text" != None ]] || fail "the stack $prefix has no output $1: it is not one of deploy/aws/up, or half made; see deploy/aws/status"
    printf '%s\n' "$text"
}

# instances [FILTER]...: prints id, state, type, Name, image, launch time and "spot" or "None" of the prefix's instances, but of
# those that are gone.
instances() {
    call ec2 describe-instances --filters "Name=tag:muster-prefix,Values=$prefix" \
        "${@:-Name=instance-state-name,Values=pending,running,stopping,stopped}" --query \
        "Reservations[].Instances[].[InstanceId,State.Name,InstanceType,Tags[?Key=='Name']|[0].Value,ImageId,LaunchTime,InstanceLifecycle]"
}

# images: prints id, state, version, engine, digest, root device and snapshot of the prefix's images, oldest first.
images() {
    call ec2 describe-images --owners self --filters "Name=tag:muster-prefix,Values=$prefix" --query \
        "sort_by(Images,&CreationDate)[].[ImageId,State,Tags[?Key=='muster-version']|[0].Value,Tags[?Key=='muster-engine']|[0].Value,
        Tags[?Key=='muster-archive']|[0].Value,RootDeviceName,BlockDeviceMappings[0].Ebs.SnapshotId]"
}

# listed HOURS SERVICE PART FIELD=VALUE...: prints the dollars an hour that AWS's price list says of the region's product with these
# fields, whose description has PART; nothing if there is none. HOURS is 730 where the list has prices a month.
listed() {
    local hours=$1 service=$2 part=$3 filters=() filter
    shift 3
    for filter in "regionCode=$region" "$@"; do
        filters+=("Type=TERM_MATCH,Field=${filter%%=*},Value=${filter#*=}")
    done
    # One region answers for all. A description is a text in JSON. Some products cost nothing: reserved capacity, for example.
    aws pricing get-products --region us-east-1 --cli-connect-timeout 5 --service-code "$service" --filters "${filters[@]}" \
        --query "PriceList[?contains(@, '$part')]" 2>/dev/null | awk -v RS='"OnDemand": *' -v hours="$hours" '
            NR > 1 && match($0, /"USD": ?"[0-9.]+"/) {
                split(substr($0, RSTART, RLENGTH), parts, "\"")
                if (parts[4] > 0) { printf "%.6g\n", parts[4] / hours; exit }
            }'
}

# learn_prices NAME...: sets prices[NAME], the dollars an hour of an instance type, address or endpoint, or of a GiB of disk (gp3) or
# snapshot: by AWS's price list, which needs the permission pricing:GetProducts, or else, for us-east-1, by prices.tsv.
declare -gA prices=()
prices_are_dated=
learn_prices() {
    local name found
    for name in "$@"; do
        [[ ! -v "prices[$name]" ]] || continue
        found=
        case "$name" in
            *.*) found=$(listed 1 AmazonEC2 '' "instanceType=$name" operatingSystem=Linux tenancy=Shared preInstalledSw=NA \
                capacitystatus=Used) || true ;;
            disk) found=$(listed 730 AmazonEC2 'EBS:VolumeUsage.gp3"' volumeApiName=gp3 productFamily=Storage) || true ;;
            snapshot) found=$(listed 730 AmazonEC2 'EBS:SnapshotUsage"' 'productFamily=Storage Snapshot') || true ;;
            endpoint) found=$(listed 1 AmazonVPC 'VpcEndpoint-Hours"' productFamily=VpcEndpoint) || true ;;
            address) found=$(listed 1 AmazonVPC 'PublicIPv4:InUseAddress"' group=VPCPublicIPv4Address) || true ;;
        esac
        if [[ -z "$found" && "$region" == us-east-1 ]]; then
            found=$(awk -F '\t' -v name="$name" '$1 == name { print $2 }' "$here/prices.tsv")
            [[ -z "$found" ]] || prices_are_dated=yes
        fi
        prices[$name]=$found
    done
}

# price NAME: prints what learn_prices found; nothing if the price is not known.
price() { printf '%s' "${prices[$1]-}"; }

# or_unknown NAME: prints a price, or "?".
or_unknown() { printf '%s' "${prices[$1]:-?}"; }

# calculate EXPRESSION: prints dollars. A price that is not known makes the sum unknown.
calculate() {
    [[ "$1" == *'?'* ]] && echo "not known" || awk "BEGIN { printf \"\$%.4f\n\", $1 }"
}

# cost TEXT EXPRESSION: prints a line of a bill.
cost() { printf '  %-58s %s\n' "$1" "$(calculate "$2")"; }

# Prints where the prices are from, and what is not in them.
about_prices() {
    local source="by AWS's price list"
    [[ -z "$prices_are_dated" ]] || source="dated $(sed -n 's/^# Dated //p' "$here/prices.tsv")"
    if [[ "${prices[*]}" == *[0-9]* ]]; then
        echo "  Prices of $region, $source, without taxes. Requests, traffic, logs, alarms and stored photos are not in it."
    else
        echo "  AWS's price list was not readable (pricing:GetProducts); see https://aws.amazon.com/ec2/pricing/on-demand/"
    fi
}

# whose BUCKET: prints "own" for a bucket of this prefix in this region, "none" if this account has none of that name, or else what
# is to be said of it. The CLI would follow S3 into another region, where a deployment with this prefix may run.
whose() {
    local place tag
    if ! place=$(aws s3api get-bucket-location --bucket "$1" --query LocationConstraint 2>&1); then
        [[ "$place" == *NoSuchBucket* || "$place" == *AccessDenied* ]] || { explain "$place" "aws s3api get-bucket-location"; return 1; }
        echo none
        return
    fi
    place=${place##*$'\n'}
    case "$place" in
        None) place=us-east-1 ;;
        EU) place=eu-west-1 ;;
    esac
    tag=$(aws s3api get-bucket-tagging --bucket "$1" --query "TagSet[?Key=='muster-prefix'].Value" 2>/dev/null) || true
    if [[ "$place" != "$region" ]]; then
        echo "is in $place: AWS_REGION=$place deploy/aws/down --prefix $prefix removes what is there"
    elif [[ "$tag" != "$prefix" ]]; then
        echo "lacks the tag muster-prefix=$prefix: aws s3 rb --force s3://$1 removes it"
    else
        echo own
    fi
}

# make_bucket BUCKET: makes a private bucket, if it is not there yet.
make_bucket() {
    local found place=()
    found=$(whose "$1") || exit
    if [[ "$found" == none ]]; then
        [[ "$region" == us-east-1 ]] || place=(--create-bucket-configuration "LocationConstraint=$region")
        call s3api create-bucket --bucket "$1" "${place[@]}" >/dev/null
        call s3api put-bucket-tagging --bucket "$1" --tagging "TagSet=[{$tags}]"
    elif [[ "$found" != own ]]; then
        fail "a bucket $1 exists already. It $found; or choose another --prefix"
    fi
    call s3api put-public-access-block --bucket "$1" --public-access-block-configuration \
        BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
}

# Prints the path of a sample photo; nothing if there is none. scripts/setup fetches them, also for scripts/package.
sample_photo() { find -L "$repository/.local/photos/val" -name '*.jpg' 2>/dev/null | LC_ALL=C sort | head -n 1 || true; }

# archive_of ENGINE: prints the path of the release archive: the one that is given, or else the one that scripts/package makes.
archive_of() {
    local file=$archive
    if [[ -z "$file" ]]; then
        [[ -x "$repository/scripts/package" ]] || fail "scripts/package is missing: give a release by --archive FILE"
        say "building the release archive: scripts/package --engine $1"
        file=$("$repository/scripts/package" --engine "$1" | tail -n 1) ||
            fail "scripts/package failed: its messages, above, say why. A finished release is taken by --archive FILE"
    fi
    [[ -r "$file" ]] || fail "the release archive $file cannot be read"
    [[ "${file##*/}" =~ ^muster-(.+)-x86_64-(native|torch)\.tar\.zst$ ]] ||
        fail "$file is not named muster-VERSION-x86_64-ENGINE.tar.zst, as scripts/package names it"
    printf '%s\n' "$file"
}

# public_address: prints the address from which this machine reaches the internet.
public_address() {
    local address
    address=$(curl -fsS --max-time 10 "${MUSTER_ADDRESS_SERVICE:-https://checkip.amazonaws.com}" 2>/dev/null) || return 1
    [[ "$address" =~ ^[0-9]+(\.[0-9]+){3}$ ]] && printf '%s\n' "$address"
}

# zones TYPE: prints the availability zones where EC2 offers instances of the type, with commas between.
zones() {
    local found
    found=$(call ec2 describe-instance-type-offerings --location-type availability-zone \
        --filters "Name=instance-type,Values=$1" --query "join(',', InstanceTypeOfferings[].Location)") || exit
    [[ -n "$found" ]] || fail "$region has no instances of the type $1: choose another one, such as t3.small"
    printf '%s\n' "$found"
}

# find_network TYPE: sets the parameters VpcId and SubnetIds, where they are empty, to the default VPC and those of its default
# subnets where EC2 offers instances of the type. Of other subnets it is not known whether they have a route to the internet.
find_network() {
    local found
    if [[ -z "${parameters[SubnetIds]}" ]]; then
        found=$(call ec2 describe-vpcs --filters Name=is-default,Values=true --query 'Vpcs[0].VpcId') || exit
        [[ -z "${parameters[VpcId]}" || "${parameters[VpcId]}" == "$found" ]] || fail "${parameters[VpcId]} is not the default VPC:" \
            "name those of its subnets that have a route to the internet, one an availability zone: SubnetIds=subnet-...,subnet-..."
        [[ "$found" == vpc-* ]] || fail "$region has no default VPC: run 'aws ec2 create-default-vpc'," \
            "or name subnets: deploy/aws/up SubnetIds=subnet-..."
        parameters[VpcId]=$found
        found=$(zones "$1") || exit
        parameters[SubnetIds]=$(call ec2 describe-subnets --filters "Name=vpc-id,Values=${parameters[VpcId]}" \
            Name=default-for-az,Values=true "Name=availability-zone,Values=$found" \
            --query "join(',', sort_by(Subnets,&AvailabilityZone)[].SubnetId)") || exit
        [[ -n "${parameters[SubnetIds]}" ]] ||
            fail "${parameters[VpcId]} has no default subnet where EC2 offers $1: name subnets by SubnetIds=subnet-..."
    elif [[ -z "${parameters[VpcId]}" ]]; then
        parameters[VpcId]=$(call ec2 describe-subnets --subnet-ids "${parameters[SubnetIds]%%,*}" \
            --query 'Subnets[0].VpcId') || exit
    fi
}
