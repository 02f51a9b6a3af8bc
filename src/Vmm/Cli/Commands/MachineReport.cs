using System.Text;
using System.Text.Encodings.Web;
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
        MachineStatus now = MachinePoll.Look([folder], Patience)[0];
        JsonObject report = JsonSerializer.SerializeToNode(record, MachineRecordJson.Default.MachineRecord)!.AsObject();
        report["directoryOfState"] = folder.Path;
        report["control"] = folder.ControlPath(record);
        report["now"] = JsonSerializer.SerializeToNode(now, MachineLineJson.Default.MachineStatus);
        using var text = new MemoryStream();
        using (var writer = new Utf8JsonWriter(text, new JsonWriterOptions { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            report.WriteTo(writer);
        }

        return Encoding.UTF8.GetString(text.ToArray()) + "\n";
    }
}
