using System.Text.Json.Serialization;

namespace Vmm.Named;

/// <summary>How a machine with a name is, as far as can be seen from outside.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<MachineStateName>))]
internal enum MachineStateName
{
    /// <summary>Its process is there, and it is not up yet.</summary>
    [JsonStringEnumMemberName("starting")]
    Starting,

    [JsonStringEnumMemberName("running")]
    Running,

    [JsonStringEnumMemberName("paused")]
    Paused,

    /// <summary>It was asked to end.</summary>
    [JsonStringEnumMemberName("stopping")]
    Stopping,

    /// <summary>It ended, and will be started again.</summary>
    [JsonStringEnumMemberName("restarting")]
    Restarting,

    /// <summary>Its process is there, and its control socket does not answer.</summary>
    [JsonStringEnumMemberName("silent")]
    Silent,

    /// <summary>It ended.</summary>
    [JsonStringEnumMemberName("exited")]
    Exited,

    /// <summary>Its process was killed, or the host restarted: nobody wrote down how it ended.</summary>
    [JsonStringEnumMemberName("dead")]
    Dead,

    /// <summary>Its record cannot be read.</summary>
    [JsonStringEnumMemberName("damaged")]
    Damaged,
}
