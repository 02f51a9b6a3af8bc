using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Configuration.Memory;
using Microsoft.Extensions.Hosting.Systemd;
using Microsoft.Extensions.Logging.Console;
using Microsoft.Extensions.Options;
using OpenTelemetry.Metrics;
using Vmm.Daemon.Api;
using Vmm.Daemon.Machines;
using Vmm.Daemon.Observing;
using Vmm.Daemon.Quotas;

namespace Vmm.Daemon.Hosting;

/// <summary>Puts vmmd together.</summary>
internal static class DaemonHost
{
    /// <exception cref="OptionsValidationException">The options have faults, each in a line of its own.</exception>
    /// <exception cref="ConfigurationException">What is configured cannot be.</exception>
    public static WebApplication Build(string[] args)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions
        {
            // A setting is read once: half of them could not change while it runs.
            Args = ["--hostBuilder:reloadConfigOnChange=false", .. args],
            ApplicationName = "vmmd",
            ContentRootPath = Array.Exists(args, static each => each.StartsWith("--contentRoot", StringComparison.Ordinal)) ? null : Directory(),
        });
        // Each request would be some lines; whoever wants them sets it otherwise.
        builder.Configuration.Sources.Insert(0, new MemoryConfigurationSource
        {
            InitialData = [new("Logging:LogLevel:Microsoft.AspNetCore", "Warning")],
        });
        builder.Configuration.AddCommandLine(args, DaemonHelp.Switches);
        RefuseOtherEndpoints(builder.Configuration);
        AddServices(builder);
        WebApplication app = builder.Build();
        UseEndpoints(app);
        return app;
    }

    /// <returns>The socket's name, to be kept while it runs; null where systemd has it.</returns>
    /// <exception cref="ConfigurationException">Another vmmd has the socket.</exception>
    public static async Task<OwnedSocket?> StartAsync(WebApplication app)
    {
        DaemonOptions options = app.Services.GetRequiredService<IOptions<DaemonOptions>>().Value;
        OwnedSocket? socket = Listening.IsActivated ? null : new OwnedSocket(app.Services.GetRequiredService<DaemonPaths>().Socket);
        try
        {
            await app.StartAsync();
            socket?.Open(options.SocketMode);
            return socket;
        }
        catch
        {
            socket?.Dispose();
            throw;
        }
    }

    private static void Bind(IConfigurationSection section, DaemonOptions options)
    {
        try
        {
            section.Bind(options, static binder => binder.ErrorOnUnknownConfiguration = true);
        }
        catch (InvalidOperationException error)
        {
            // What the binder says of a key that there is not, or of a value that is no number.
            string said = error.Message.ReplaceLineEndings(" ");
            throw new ConfigurationException(said.Contains("ErrorOnUnknownConfiguration", StringComparison.Ordinal)
                ? $"{section.Path}: there is no setting {said[(said.LastIndexOf(": ", StringComparison.Ordinal) + 2)..]}"
                : said);
        }
    }

    private static void AddServices(WebApplicationBuilder builder)
    {
        IServiceCollection services = builder.Services;
        AddSystemd(services);
        IConfigurationSection section = builder.Configuration.GetSection(DaemonOptions.Section);
        services.AddOptions<DaemonOptions>().Configure(options => Bind(section, options));
        services.AddSingleton<IValidateOptions<DaemonOptions>, DaemonOptionsValidator>();
        services.AddSingleton(TimeProvider.System);
        services.AddSingleton<DaemonPaths>();
        services.AddSingleton<ConnectionGate>();
        services.AddSingleton<MachineEvents>();
        services.AddSingleton<Owners>();
        services.AddSingleton<MachineRegistry>();
        services.AddSingleton<QuotaBook>();
        services.AddSingleton<VmmProgram>();
        services.AddSingleton<MachineLife>();
        services.AddSingleton<MachineMetrics>();
        services.AddHostedService(static all => all.GetRequiredService<MachineRegistry>());
        services.AddHostedService<Watchdog>();

        services.ConfigureHttpJsonOptions(static json => Configure(json.SerializerOptions));
        services.Configure<RouteHandlerOptions>(static route => route.ThrowOnBadRequest = true);
        services.AddProblemDetails();
        services.AddExceptionHandler<Problems>();
        services.AddOpenApi("v1", ApiDescription.Configure);
        services.AddHealthChecks()
            .AddCheck<LivenessCheck>("machines", tags: [LivenessCheck.Tag])
            .AddCheck<ReadinessCheck>("vmm");
        services.AddOpenTelemetry().WithMetrics(static metrics => metrics
            .AddMeter(MachineMetrics.MeterName, "Microsoft.AspNetCore.Hosting", "Microsoft.AspNetCore.Server.Kestrel")
            .AddPrometheusExporter(static prometheus => prometheus.ScrapeResponseCacheDurationMilliseconds = 0));

        services.AddOptions<KestrelServerOptions>().Configure<IOptions<DaemonOptions>, DaemonPaths, ConnectionGate>(
            static (kestrel, options, paths, gate) => Listening.Configure(kestrel, options.Value, paths, gate));
    }

    /// <summary>Reports to systemd, and logs as it likes. Not by AddSystemd of .NET, which looks at the parent process: the unit's
    /// ProtectProc= hides that, and the start would never be reported as done.</summary>
    private static void AddSystemd(IServiceCollection services)
    {
        if (string.IsNullOrEmpty(Environment.GetEnvironmentVariable("NOTIFY_SOCKET")))
        {
            return;
        }

        services.Configure<ConsoleLoggerOptions>(static console => console.FormatterName ??= ConsoleFormatterNames.Systemd);
        services.AddSingleton<ISystemdNotifier, SystemdNotifier>();
        services.AddSingleton<IHostLifetime, SystemdLifetime>();
    }

    public static void Configure(JsonSerializerOptions json)
    {
        json.TypeInfoResolverChain.Insert(0, ApiJson.Default);
        json.UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow;
        json.RespectNullableAnnotations = true;
        json.RespectRequiredConstructorParameters = true;
        json.DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull;
        json.NumberHandling = JsonNumberHandling.Strict;
        json.MaxDepth = 16;
    }

    private static void UseEndpoints(WebApplication app)
    {
        app.UseExceptionHandler();
        app.UseStatusCodePages();
        app.UseMiddleware<BrowserGuard>();
        app.UseWebSockets(new WebSocketOptions { KeepAliveInterval = TimeSpan.FromSeconds(30), KeepAliveTimeout = TimeSpan.FromSeconds(30) });
        app.UseRouting();
        MetricsEndpoint.Use(app);
        MachineEndpoints.Map(app);
        StreamEndpoints.Map(app);
        SocketEndpoints.Map(app);
        HealthEndpoints.Map(app);
        PageEndpoint.Map(app);
        app.MapOpenApi();
    }

    /// <summary>.NET's own ways to say where a server listens know neither the peers' users nor that TCP needs certificates.</summary>
    private static void RefuseOtherEndpoints(ConfigurationManager configuration)
    {
        foreach (string key in (ReadOnlySpan<string>)["urls", "http_ports", "https_ports"])
        {
            if (!string.IsNullOrEmpty(configuration[key]))
            {
                throw new ConfigurationException(
                    $"{key} {configuration[key]}: vmmd listens on a Unix socket (Vmmd:Socket), and on TCP only with certificates (Vmmd:Tcp)");
            }
        }

        if (configuration.GetSection("Kestrel").GetChildren().FirstOrDefault() is { } section)
        {
            throw new ConfigurationException(
                $"{section.Path}: vmmd listens on a Unix socket (Vmmd:Socket), and on TCP only with certificates (Vmmd:Tcp)");
        }
    }

    /// <summary>Of appsettings.json. Never the working directory, in which anything may lie.</summary>
    private static string Directory()
    {
        string? home = Environment.GetEnvironmentVariable("XDG_CONFIG_HOME") is { Length: > 0 } set ? set
            : Environment.GetEnvironmentVariable("HOME") is { Length: > 0 } user ? Path.Combine(user, ".config")
            : null;
        string?[] candidates = [home is null ? null : Path.Combine(home, "vmmd"), "/etc/vmmd", "/"];
        return candidates.First(static each => System.IO.Directory.Exists(each))!;
    }
}
