"""The way into an archive of Parquet objects by day, and the ways to query it."""

from collections.abc import Mapping

from aws_cdk import Aws, Duration, RemovalPolicy
from aws_cdk import aws_athena as athena
from aws_cdk import aws_glue as glue
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kinesisfirehose as firehose
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from constructs import Construct

from infra.constructs.permissions import acknowledge_objects, bucket_itself, objects

_BUFFER_MB = 128
_LOG_STREAM = "delivery"
_DAY = "!{timestamp:yyyy-MM-dd}"


class DayTable(Construct):
    """A Glue table over `<folder>/day=YYYY-MM-DD/` of the bucket, in a database of its own.

    Athena derives the partitions from the dates of the last `days` (partition projection), so
    nobody has to register one.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        database_name: str,
        folder: str,
        bucket: s3.IBucket,
        columns: Mapping[str, str],
        days: int,
    ) -> None:
        super().__init__(scope, construct_id)
        self.folder = folder
        self.database_name = database_name
        self.table_name = folder
        database = glue.CfnDatabase(
            self,
            "Database",
            catalog_id=Aws.ACCOUNT_ID,
            database_input=glue.CfnDatabase.DatabaseInputProperty(name=database_name),
        )
        location = bucket.s3_url_for_object(folder)
        table = glue.CfnTable(
            self,
            "Table",
            catalog_id=Aws.ACCOUNT_ID,
            database_name=database_name,
            table_input=glue.CfnTable.TableInputProperty(
                name=folder,
                table_type="EXTERNAL_TABLE",
                parameters={
                    "classification": "parquet",
                    "projection.enabled": "true",
                    "projection.day.type": "date",
                    "projection.day.format": "yyyy-MM-dd",
                    "projection.day.range": f"NOW-{days}DAYS,NOW+1DAYS",
                    "storage.location.template": f"{location}/day=${{day}}/",
                },
                partition_keys=[glue.CfnTable.ColumnProperty(name="day", type="string")],
                storage_descriptor=glue.CfnTable.StorageDescriptorProperty(
                    columns=[
                        glue.CfnTable.ColumnProperty(name=name, type=kind)
                        for name, kind in columns.items()
                    ],
                    location=f"{location}/",
                    input_format="org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat",
                    output_format=(
                        "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
                    ),
                    serde_info=glue.CfnTable.SerdeInfoProperty(
                        serialization_library=(
                            "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
                        )
                    ),
                ),
            ),
        )
        table.add_resource_dependency(database)
        self.arns = [
            f"arn:{Aws.PARTITION}:glue:{Aws.REGION}:{Aws.ACCOUNT_ID}:{resource}"
            for resource in (
                "catalog",
                f"database/{database_name}",
                f"table/{database_name}/{folder}",
            )
        ]
        self.node.default_child = table

    def may(self, sid: str, *actions: str) -> iam.PolicyStatement:
        """Glue actions on the table, which AWS checks on its database and the catalog too."""
        return iam.PolicyStatement(
            sid=sid, actions=[f"glue:{action}" for action in actions], resources=self.arns
        )


def default_database(sid: str) -> iam.PolicyStatement:
    """What Athena asks of its callers beside their own tables: that they see database `default`.

    https://docs.aws.amazon.com/athena/latest/ug/fine-grained-access-to-glue-resources.html
    """
    glue_of_account = f"arn:{Aws.PARTITION}:glue:{Aws.REGION}:{Aws.ACCOUNT_ID}"
    return iam.PolicyStatement(
        sid=sid,
        actions=["glue:GetDatabase"],
        resources=[f"{glue_of_account}:catalog", f"{glue_of_account}:database/default"],
    )


class ArchiveStream(Construct):
    """A Firehose stream that turns JSON lines into Parquet objects of the table's bucket.

    Partitions are days of arrival. Snappy is the better of the two compressions that Firehose
    offers for Parquet: half the size of none, and quick to read.
    """

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        bucket: s3.IBucket,
        table: DayTable,
        interval: Duration,
        log_retention: logs.RetentionDays,
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = name
        log_group = logs.LogGroup(
            self,
            "Logs",
            log_group_name=f"/aws/kinesisfirehose/{name}",
            retention=log_retention,
            removal_policy=RemovalPolicy.DESTROY,
        )
        log_stream = logs.LogStream(
            self,
            "LogStream",
            log_group=log_group,
            log_stream_name=_LOG_STREAM,
            removal_policy=RemovalPolicy.DESTROY,
        )
        role = self._role(bucket, table, log_group)
        config = firehose.CfnDeliveryStream
        stream = config(
            self,
            "Stream",
            delivery_stream_name=name,
            delivery_stream_type="DirectPut",
            delivery_stream_encryption_configuration_input=(
                config.DeliveryStreamEncryptionConfigurationInputProperty(key_type="AWS_OWNED_CMK")
            ),
            extended_s3_destination_configuration=(
                config.ExtendedS3DestinationConfigurationProperty(
                    bucket_arn=bucket.bucket_arn,
                    role_arn=role.role_arn,
                    prefix=f"{table.folder}/day={_DAY}/",
                    error_output_prefix=f"errors/!{{firehose:error-output-type}}/day={_DAY}/",
                    buffering_hints=config.BufferingHintsProperty(
                        interval_in_seconds=int(interval.to_seconds()), size_in_m_bs=_BUFFER_MB
                    ),
                    # Parquet compresses within the object.
                    compression_format="UNCOMPRESSED",
                    cloud_watch_logging_options=config.CloudWatchLoggingOptionsProperty(
                        enabled=True,
                        log_group_name=log_group.log_group_name,
                        log_stream_name=log_stream.log_stream_name,
                    ),
                    data_format_conversion_configuration=_to_parquet(table, role),
                )
            ),
        )
        stream.node.add_dependency(role, table)
        self.arn = stream.attr_arn

    def _role(self, bucket: s3.IBucket, table: DayTable, log_group: logs.ILogGroup) -> iam.Role:
        role = iam.Role(
            self,
            "Role",
            role_name=f"{self.name}-delivery",
            assumed_by=iam.ServicePrincipal(
                "firehose.amazonaws.com",
                conditions={"StringEquals": {"aws:SourceAccount": Aws.ACCOUNT_ID}},
            ),
        )
        for statement in (
            bucket_itself(
                "Bucket",
                bucket,
                ("GetBucketLocation", "ListBucket", "ListBucketMultipartUploads"),
            ),
            objects("Objects", bucket, ("AbortMultipartUpload", "GetObject", "PutObject")),
            table.may("Schema", "GetTable", "GetTableVersion", "GetTableVersions"),
            iam.PolicyStatement(
                sid="Logs", actions=["logs:PutLogEvents"], resources=[log_group.log_group_arn]
            ),
        ):
            role.add_to_policy(statement)
        acknowledge_objects(role, bucket)
        return role


def _to_parquet(
    table: DayTable, role: iam.IRole
) -> firehose.CfnDeliveryStream.DataFormatConversionConfigurationProperty:
    config = firehose.CfnDeliveryStream
    return config.DataFormatConversionConfigurationProperty(
        enabled=True,
        input_format_configuration=config.InputFormatConfigurationProperty(
            deserializer=config.DeserializerProperty(
                open_x_json_ser_de=config.OpenXJsonSerDeProperty()
            )
        ),
        output_format_configuration=config.OutputFormatConfigurationProperty(
            serializer=config.SerializerProperty(
                parquet_ser_de=config.ParquetSerDeProperty(compression="SNAPPY")
            )
        ),
        schema_configuration=config.SchemaConfigurationProperty(
            catalog_id=Aws.ACCOUNT_ID,
            database_name=table.database_name,
            table_name=table.table_name,
            region=Aws.REGION,
            role_arn=role.role_arn,
            version_id="LATEST",
        ),
    )


class Workgroup(Construct):
    """Athena for one purpose: where its results lie and how much a query may read is fixed."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        name: str,
        results: str,
        max_scanned_gb: int,
    ) -> None:
        super().__init__(scope, construct_id)
        self.name = name
        config = athena.CfnWorkGroup
        athena.CfnWorkGroup(
            self,
            "Workgroup",
            name=name,
            recursive_delete_option=True,
            work_group_configuration=config.WorkGroupConfigurationProperty(
                enforce_work_group_configuration=True,
                publish_cloud_watch_metrics_enabled=True,
                bytes_scanned_cutoff_per_query=max_scanned_gb * 10**9,
                result_configuration=config.ResultConfigurationProperty(
                    output_location=results,
                    encryption_configuration=config.EncryptionConfigurationProperty(
                        encryption_option="SSE_S3"
                    ),
                ),
            ),
        )
        self.arn = f"arn:{Aws.PARTITION}:athena:{Aws.REGION}:{Aws.ACCOUNT_ID}:workgroup/{name}"
