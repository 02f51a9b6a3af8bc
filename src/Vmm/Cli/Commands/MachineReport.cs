using System.Text.Json;
using System.Text.Json.Nodes;
using Vmm.Named;

namespace Vmm.Cli.Commands;

/// <summary>What <c>vmm inspect MACHINE</c> prints: the machine's record, and how it is now.</summary>
internal static class MachineReport
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    /// <returns>One JSON object.</returns>
    /// <exception cref="Host.HostException">It is gone, or its record cannot be used.</exception>
    public static string Of(MachineFolder folder)
    {
        MachineRecord record = MachineStore.ReadOrExplain(folder);
        MachineView now = MachinePoll.Look([folder], Patience)[0];
        JsonObject report = JsonSerializer.SerializeToNode(record, MachineRecordJson.Default.MachineRecord)!.AsObject();
        report["directoryOfState"] = folder.Path;
        report["control"] = folder.ControlPath(record);
        report["now"] = JsonSerializer.SerializeToNode(now, MachineLineJson.Default.MachineView);
        return report.ToJsonString(MachineViewJson.Default.Options) + "\n";
    }
}
