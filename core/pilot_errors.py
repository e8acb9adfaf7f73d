"""The errors that pilots report: numbers and names are those of PanDA's pilot, meanings and verdicts are ours."""

from __future__ import annotations

from dataclasses import dataclass

#: Who may have to act on a failure.
ACTORS = ("user", "site", "operator", "nobody")


@dataclass(frozen=True)
class PilotError:
    """One kind of failure that a pilot reports as `pilot_error_code`. `who` must act, one of `ACTORS`."""

    code: int
    name: str
    who: str
    meaning: str


#: Every code of PanDA's pilot 3.7 and 3.11, by number.
PILOT_ERRORS = (
    PilotError(1008, "GENERALERROR", "operator", "an error without a better name: read the pilot's log"),
    PilotError(1098, "NOLOCALSPACE", "site", "the machine's disk is full"),
    PilotError(1099, "STAGEINFAILED", "site", "an input cannot be read from its storage"),
    PilotError(1100, "REPLICANOTFOUND", "operator", "an input has no copy that this queue may read"),
    PilotError(1103, "NOSUCHFILE", "site", "a file that was there is gone"),
    PilotError(1104, "USERDIRTOOLARGE", "user", "the work directory outgrew its limit"),
    PilotError(1106, "STDOUTTOOBIG", "user", "the payload printed too much"),
    PilotError(1110, "SETUPFAILURE", "site", "the environment of the payload cannot be set up"),
    PilotError(1115, "NFSSQLITE", "site", "a database file on a network file system cannot be locked"),
    PilotError(1116, "QUEUEDATA", "operator", "the queue's description cannot be had"),
    PilotError(1117, "QUEUEDATANOTOK", "operator", "the queue's description makes no sense"),
    PilotError(1124, "OUTPUTFILETOOLARGE", "user", "an output file is larger than allowed"),
    PilotError(1133, "NOSTORAGE", "operator", "no storage is named for a file"),
    PilotError(1137, "STAGEOUTFAILED", "site", "an output cannot be written to its storage"),
    PilotError(1141, "PUTMD5MISMATCH", "site", "an output has another MD5 sum on its storage"),
    PilotError(1143, "CHMODTRF", "site", "the transform cannot be made executable"),
    PilotError(1144, "PANDAKILL", "nobody", "killed by a command of the server"),
    PilotError(1145, "GETMD5MISMATCH", "site", "an input has another MD5 sum than the catalogue says"),
    PilotError(1149, "TRFDOWNLOADFAILURE", "operator", "the transform cannot be downloaded"),
    PilotError(1150, "LOOPINGJOB", "user", "the payload did nothing for too long"),
    PilotError(1151, "STAGEINTIMEOUT", "site", "reading the inputs took too long"),
    PilotError(1152, "STAGEOUTTIMEOUT", "site", "writing the outputs took too long"),
    PilotError(1163, "NOPROXY", "site", "the pilot has no proxy certificate"),
    PilotError(1165, "MISSINGOUTPUTFILE", "user", "the payload did not make an output that was promised"),
    PilotError(1168, "SIZETOOLARGE", "user", "the inputs are larger than allowed"),
    PilotError(1171, "GETADMISMATCH", "site", "an input has another adler32 sum than the catalogue says"),
    PilotError(1172, "PUTADMISMATCH", "site", "an output has another adler32 sum on its storage"),
    PilotError(1177, "NOVOMSPROXY", "site", "the pilot's proxy has no attributes of an organisation"),
    PilotError(1180, "GETGLOBUSSYSERR", "site", "reading an input failed in the transfer software"),
    PilotError(1181, "PUTGLOBUSSYSERR", "site", "writing an output failed in the transfer software"),
    PilotError(1186, "NOSOFTWAREDIR", "site", "the folder of the software is missing"),
    PilotError(1187, "NOPAYLOADMETADATA", "user", "the payload left no description of what it made"),
    PilotError(1190, "LFNTOOLONG", "user", "a file name is too long"),
    PilotError(1191, "ZEROFILESIZE", "user", "an output is empty"),
    PilotError(1199, "MKDIR", "site", "a folder cannot be made"),
    PilotError(1200, "KILLSIGNAL", "nobody", "the pilot was stopped by a signal"),
    PilotError(1201, "SIGTERM", "nobody", "the batch system stopped the pilot (TERM)"),
    PilotError(1202, "SIGQUIT", "nobody", "the batch system stopped the pilot (QUIT)"),
    PilotError(1203, "SIGSEGV", "operator", "the pilot crashed (SEGV)"),
    PilotError(1204, "SIGXCPU", "site", "the slot's CPU time is over (XCPU)"),
    PilotError(1205, "USERKILL", "user", "killed by its user"),
    PilotError(1206, "SIGBUS", "site", "the pilot crashed over the machine's memory or disk (BUS)"),
    PilotError(1207, "SIGUSR1", "nobody", "the batch system stopped the pilot (USR1)"),
    PilotError(1208, "SIGINT", "nobody", "somebody interrupted the pilot (INT)"),
    PilotError(1211, "MISSINGINSTALLATION", "site", "the release that the job needs is not installed"),
    PilotError(1212, "PAYLOADOUTOFMEMORY", "user", "the kernel killed the payload for lack of memory"),
    PilotError(1213, "REACHEDMAXTIME", "user", "the wall time, or the pilot's lifetime, is over"),
    PilotError(1220, "UNKNOWNPAYLOADFAILURE", "user", "the payload failed and did not say why"),
    PilotError(1221, "FILEEXISTS", "site", "a file to be written is there already"),
    PilotError(1223, "BADALLOC", "user", "the payload could not get the memory that it asked for"),
    PilotError(1224, "ESRECOVERABLE", "nobody", "some events were not processed: they will be tried again"),
    PilotError(1228, "ESFATAL", "user", "events cannot be processed, however often they are tried"),
    PilotError(1234, "EXECUTEDCLONEJOB", "nobody", "another copy of the job has done the work"),
    PilotError(1235, "PAYLOADEXCEEDMAXMEM", "user", "the payload used more memory than it had asked for"),
    PilotError(1236, "FAILEDBYSERVER", "nobody", "the server had given the job up"),
    PilotError(1238, "ESNOEVENTS", "nobody", "there were no events left to process"),
    PilotError(
        1240, "MESSAGEHANDLINGFAILURE", "operator", "pilot and payload did not understand each other's messages"
    ),
    PilotError(1242, "CHKSUMNOTSUP", "operator", "a checksum of a kind that is not known"),
    PilotError(1244, "NORELEASEFOUND", "site", "the release that the job needs cannot be found"),
    PilotError(1246, "NOUSERTARBALL", "user", "the user's sandbox is missing"),
    PilotError(1247, "BADXML", "user", "the payload's description of its outputs cannot be read"),
    PilotError(1300, "NOTIMPLEMENTED", "operator", "the job wants something that the pilot cannot do"),
    PilotError(1301, "UNKNOWNEXCEPTION", "operator", "the pilot failed in a way that it did not expect"),
    PilotError(1302, "CONVERSIONFAILURE", "operator", "a value of the job's definition cannot be converted"),
    PilotError(1303, "FILEHANDLINGFAILURE", "site", "a file operation failed in the work directory"),
    PilotError(1305, "PAYLOADEXECUTIONFAILURE", "user", "the payload ended with an error"),
    PilotError(1306, "SINGULARITYGENERALFAILURE", "site", "the container could not be run"),
    PilotError(1307, "SINGULARITYNOLOOPDEVICES", "site", "the machine has no loop devices left for containers"),
    PilotError(1308, "SINGULARITYBINDPOINTFAILURE", "site", "a folder cannot be mounted in the container"),
    PilotError(1309, "SINGULARITYIMAGEMOUNTFAILURE", "site", "the container's image cannot be mounted"),
    PilotError(1310, "PAYLOADEXECUTIONEXCEPTION", "user", "the payload could not be started"),
    PilotError(1311, "NOTDEFINED", "operator", "a value that is needed was not given"),
    PilotError(1312, "NOTSAMELENGTH", "operator", "lists in the job's definition differ in length"),
    PilotError(1313, "NOSTORAGEPROTOCOL", "operator", "a storage has no suitable protocol"),
    PilotError(1314, "UNKNOWNCHECKSUMTYPE", "operator", "a checksum of a kind that is not known"),
    PilotError(1315, "UNKNOWNTRFFAILURE", "user", "the transform failed and did not say why"),
    PilotError(1316, "RUCIOSERVICEUNAVAILABLE", "operator", "the data management system does not answer"),
    PilotError(1317, "EXCEEDEDMAXWAITTIME", "operator", "the pilot waited for something for too long"),
    PilotError(1318, "COMMUNICATIONFAILURE", "nobody", "the server could not be reached"),
    PilotError(1319, "INTERNALPILOTPROBLEM", "operator", "a part of the pilot failed"),
    PilotError(1320, "LOGFILECREATIONFAILURE", "site", "the log cannot be made"),
    PilotError(
        1321, "RUCIOLOCATIONFAILED", "operator", "the pilot cannot tell where it is in the data management system"
    ),
    PilotError(1322, "RUCIOLISTREPLICASFAILED", "operator", "the copies of the inputs cannot be listed"),
    PilotError(1323, "UNKNOWNCOPYTOOL", "operator", "no copy tool for an address"),
    PilotError(1324, "SERVICENOTAVAILABLE", "site", "a service on the machine is away"),
    PilotError(1325, "SINGULARITYNOTINSTALLED", "site", "the container software is not installed"),
    PilotError(1326, "NOREPLICAS", "operator", "an input has no copies"),
    PilotError(1327, "UNREACHABLENETWORK", "site", "the network cannot be reached"),
    PilotError(1328, "PAYLOADSIGSEGV", "user", "the payload crashed (segmentation fault)"),
    PilotError(1329, "NONDETERMINISTICDDM", "operator", "where the outputs go cannot be worked out from their names"),
    PilotError(1330, "JSONRETRIEVALTIMEOUT", "operator", "a document of the system did not come in time"),
    PilotError(1331, "MISSINGINPUTFILE", "site", "an input is missing on its storage"),
    PilotError(1332, "BLACKHOLE", "site", "the machine fails every job it gets"),
    PilotError(1333, "NOREMOTESPACE", "site", "the storage for outputs is full"),
    PilotError(
        1334, "SETUPFATAL", "site", "the environment of the payload cannot be set up, and another try would end alike"
    ),
    PilotError(1335, "MISSINGUSERCODE", "user", "the user's code is missing"),
    PilotError(1336, "JOBALREADYRUNNING", "operator", "the job runs already"),
    PilotError(1337, "BADMEMORYMONITORJSON", "operator", "the measurements of memory cannot be read"),
    PilotError(1338, "STAGEINAUTHENTICATIONFAILURE", "site", "the storage of an input did not let the pilot in"),
    PilotError(1339, "DBRELEASEFAILURE", "operator", "the release of the conditions database cannot be used"),
    PilotError(1340, "SINGULARITYNEWUSERNAMESPACE", "site", "the machine allows no containers of users"),
    PilotError(1341, "BADQUEUECONFIGURATION", "operator", "the queue is described in a way that cannot work"),
    PilotError(1342, "MIDDLEWAREIMPORTFAILURE", "site", "a module of the middleware cannot be loaded"),
    PilotError(1343, "NOOUTPUTINJOBREPORT", "user", "the payload's report names no outputs"),
    PilotError(1344, "RESOURCEUNAVAILABLE", "site", "the machine had no processes, files or memory left"),
    PilotError(1345, "SINGULARITYFAILEDUSERNAMESPACE", "site", "the container could not get a name space of its own"),
    PilotError(1346, "TRANSFORMNOTFOUND", "user", "the transform cannot be found"),
    PilotError(1347, "UNSUPPORTEDSL5OS", "site", "the machine's system is too old"),
    PilotError(
        1348, "SINGULARITYRESOURCEUNAVAILABLE", "site", "the container could not get what it needs of the machine"
    ),
    PilotError(1349, "UNRECOGNIZEDTRFARGUMENTS", "user", "the transform does not know an argument"),
    PilotError(1350, "EMPTYOUTPUTFILE", "user", "an output is empty"),
    PilotError(1351, "UNRECOGNIZEDTRFSTDERR", "user", "the transform complained in words that nobody knows"),
    PilotError(1352, "STATFILEPROBLEM", "site", "a file cannot be looked at"),
    PilotError(1353, "NOSUCHPROCESS", "site", "a process that was to be watched is gone"),
    PilotError(1354, "GENERALCPUCALCPROBLEM", "operator", "the CPU time could not be measured"),
    PilotError(1355, "COREDUMP", "user", "the payload crashed and left a core dump"),
    PilotError(1356, "PREPROCESSFAILURE", "user", "the step before the payload failed"),
    PilotError(1357, "POSTPROCESSFAILURE", "user", "the step after the payload failed"),
    PilotError(1358, "MISSINGRELEASEUNPACKED", "site", "the release that the job needs is not unpacked"),
    PilotError(1359, "PANDAQUEUENOTACTIVE", "operator", "the queue is not active"),
    PilotError(1360, "IMAGENOTFOUND", "user", "the container's image cannot be found"),
    PilotError(1361, "REMOTEFILECOULDNOTBEOPENED", "site", "an input cannot be opened from where it is"),
    PilotError(1362, "XRDCPERROR", "site", "the copy program xrdcp failed"),
    PilotError(1363, "KILLPAYLOAD", "nobody", "the payload was killed by an order"),
    PilotError(1364, "MISSINGCREDENTIALS", "operator", "the pilot lacks the credentials that it needs"),
    PilotError(1365, "NOCTYPES", "site", "a library of Python is missing on the machine"),
    PilotError(1366, "CHECKSUMCALCFAILURE", "site", "a checksum cannot be worked out"),
    PilotError(1367, "COMMANDTIMEDOUT", "site", "a command took too long"),
    PilotError(1368, "REMOTEFILEOPENTIMEDOUT", "site", "opening an input from where it is took too long"),
    PilotError(1369, "FRONTIER", "operator", "the cache of the conditions database failed"),
    PilotError(1370, "VOMSPROXYABOUTTOEXPIRE", "site", "the pilot's proxy is about to run out"),
    PilotError(1371, "BADOUTPUTFILENAME", "user", "an output's name cannot be used"),
    PilotError(1372, "APPTAINERNOTINSTALLED", "site", "apptainer is not installed"),
    PilotError(1373, "CERTIFICATEHASEXPIRED", "site", "a certificate has run out"),
    PilotError(1374, "REMOTEFILEDICTDOESNOTEXIST", "site", "the list of files to open is missing"),
    PilotError(1375, "LEASETIME", "nobody", "the server could not be reached, so that the lease was lost"),
    PilotError(1376, "LOGCREATIONTIMEOUT", "site", "making the log took too long"),
    PilotError(1377, "CVMFSISNOTALIVE", "site", "CVMFS does not answer"),
    PilotError(1378, "LSETUPTIMEDOUT", "site", "setting up the software took too long"),
    PilotError(1379, "PREEMPTION", "nobody", "the slot was taken away for other work"),
    PilotError(1380, "ARCPROXYFAILURE", "site", "the proxy of the computing element failed"),
    PilotError(1381, "ARCPROXYLIBFAILURE", "site", "a library for proxies failed"),
    PilotError(1382, "PROXYTOOSHORT", "site", "the pilot's proxy does not last as long as the job"),
    PilotError(1383, "STAGEOUTAUTHENTICATIONFAILURE", "site", "the storage of an output did not let the pilot in"),
    PilotError(1384, "QUEUENOTSETUPFORCONTAINERS", "operator", "the queue is not set up for containers"),
    PilotError(1385, "NOJOBSINPANDA", "nobody", "there were no jobs"),
    PilotError(1386, "PANDAQUEUENOTONLINE", "operator", "the queue is not online"),
)

#: The pilot was stopped from outside, and its job with it: neither the job nor its inputs are to blame.
STOPPED_FROM_OUTSIDE = frozenset({1200, 1201, 1202, 1207, 1208, 1375, 1379})
#: A part of the pilot failed (INTERNALPILOTPROBLEM): it crashed, or was killed alone. An operator has to see why.
PILOT_FAILED = frozenset({1319})
#: The pilot ended before its payload and took it along, so that the payload's exit code is that of a signal.
ENDED_WITH_PAYLOAD = STOPPED_FROM_OUTSIDE | PILOT_FAILED

#: The pilot ended the payload, for the reason that it gives: the exit code is that of its signal as well.
PAYLOAD_KILLED = frozenset({1104, 1106, 1144, 1150, 1205, 1213, 1235, 1363})

BY_CODE = {error.code: error for error in PILOT_ERRORS}
