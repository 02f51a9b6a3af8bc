using Microsoft.AspNetCore.OpenApi;
using Vmm.Daemon.Hosting;

namespace Vmm.Daemon.Api;

/// <summary>What /openapi/v1.json says beside what the endpoints do.</summary>
internal static class ApiDescription
{
    public static void Configure(OpenApiOptions options) => options.AddDocumentTransformer(static (document, _, _) =>
    {
        document.Info = new()
        {
            Title = "vmmd",
            Version = DaemonHelp.Version,
            Description = "A long-lived host for vmm's machines. Errors are application/problem+json (RFC 9457), with a code for programs.",
        };
        document.Servers?.Clear();      // whatever name the client gave the Unix socket
        return Task.CompletedTask;
    });
}
