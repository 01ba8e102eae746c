package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/reflect/protoreflect"

	embeddv1 "embedd/proto/embedd/v1"
)

// maxMessage is the largest message of a call by name; its method may have a lower limit.
const maxMessage = 16 << 20

// connectHandler answers Connect, gRPC-Web and gRPC by the names of methods.
func connectHandler(o Options) http.Handler {
	mux, conn := &named{http.NewServeMux(), connectOptions(o)}, o.Conn
	papers, search, encode := embeddv1.NewPaperServiceClient(conn), embeddv1.NewSearchServiceClient(conn), embeddv1.NewEncodeServiceClient(conn)
	info, admin, collections := embeddv1.NewInfoServiceClient(conn), embeddv1.NewAdminServiceClient(conn), embeddv1.NewCollectionServiceClient(conn)
	maps, jobs := embeddv1.NewMapServiceClient(conn), embeddv1.NewJobServiceClient(conn)

	call(mux, embeddv1.PaperService_UpsertPapers_FullMethodName, papers.UpsertPapers)
	call(mux, embeddv1.PaperService_UpdateMetadata_FullMethodName, papers.UpdateMetadata)
	call(mux, embeddv1.PaperService_GetPaper_FullMethodName, papers.GetPaper)
	call(mux, embeddv1.PaperService_ListPapers_FullMethodName, papers.ListPapers)
	call(mux, embeddv1.PaperService_CountPapers_FullMethodName, papers.CountPapers)
	call(mux, embeddv1.PaperService_DeletePapers_FullMethodName, papers.DeletePapers)
	answers(mux, embeddv1.PaperService_ExportPapers_FullMethodName, papers.ExportPapers)
	both(mux, embeddv1.PaperService_IngestPapers_FullMethodName, papers.IngestPapers)

	call(mux, embeddv1.SearchService_Search_FullMethodName, search.Search)
	call(mux, embeddv1.SearchService_SearchMany_FullMethodName, search.SearchMany)
	call(mux, embeddv1.SearchService_Related_FullMethodName, search.Related)
	call(mux, embeddv1.SearchService_Recommend_FullMethodName, search.Recommend)
	call(mux, embeddv1.SearchService_Explain_FullMethodName, search.Explain)
	call(mux, embeddv1.SearchService_Compare_FullMethodName, search.Compare)
	call(mux, embeddv1.SearchService_Rerank_FullMethodName, search.Rerank)

	call(mux, embeddv1.EncodeService_Encode_FullMethodName, encode.Encode)
	call(mux, embeddv1.EncodeService_Tokenize_FullMethodName, encode.Tokenize)
	both(mux, embeddv1.EncodeService_EncodeStream_FullMethodName, encode.EncodeStream)

	call(mux, embeddv1.InfoService_GetInfo_FullMethodName, info.GetInfo)

	call(mux, embeddv1.AdminService_CreateBackup_FullMethodName, admin.CreateBackup)

	call(mux, embeddv1.CollectionService_CreateCollection_FullMethodName, collections.CreateCollection)
	call(mux, embeddv1.CollectionService_DescribeCollection_FullMethodName, collections.DescribeCollection)
	call(mux, embeddv1.CollectionService_ListCollections_FullMethodName, collections.ListCollections)
	call(mux, embeddv1.CollectionService_DeleteCollection_FullMethodName, collections.DeleteCollection)
	call(mux, embeddv1.CollectionService_SetAlias_FullMethodName, collections.SetAlias)
	call(mux, embeddv1.CollectionService_DeleteAlias_FullMethodName, collections.DeleteAlias)

	answers(mux, embeddv1.MapService_ComputeMap_FullMethodName, maps.ComputeMap)
	call(mux, embeddv1.MapService_GetMap_FullMethodName, maps.GetMap)
	call(mux, embeddv1.MapService_GetMapPapers_FullMethodName, maps.GetMapPapers)

	call(mux, embeddv1.JobService_CreateJob_FullMethodName, jobs.CreateJob)
	call(mux, embeddv1.JobService_GetJob_FullMethodName, jobs.GetJob)
	call(mux, embeddv1.JobService_ListJobs_FullMethodName, jobs.ListJobs)
	answers(mux, embeddv1.JobService_WatchJob_FullMethodName, jobs.WatchJob)
	call(mux, embeddv1.JobService_CancelJob_FullMethodName, jobs.CancelJob)
	call(mux, embeddv1.JobService_ResumeJob_FullMethodName, jobs.ResumeJob)
	call(mux, embeddv1.JobService_DeleteJob_FullMethodName, jobs.DeleteJob)
	answers(mux, embeddv1.JobService_ReadJobFile_FullMethodName, jobs.ReadJobFile)

	migrations := embeddv1.NewMigrationServiceClient(conn)
	call(mux, embeddv1.MigrationService_StartMigration_FullMethodName, migrations.StartMigration)
	call(mux, embeddv1.MigrationService_GetMigration_FullMethodName, migrations.GetMigration)
	call(mux, embeddv1.MigrationService_ListMigrations_FullMethodName, migrations.ListMigrations)
	call(mux, embeddv1.MigrationService_ReportMigration_FullMethodName, migrations.ReportMigration)
	call(mux, embeddv1.MigrationService_SwapMigration_FullMethodName, migrations.SwapMigration)
	call(mux, embeddv1.MigrationService_RollBackMigration_FullMethodName, migrations.RollBackMigration)
	call(mux, embeddv1.MigrationService_FinishMigration_FullMethodName, migrations.FinishMigration)
	call(mux, embeddv1.MigrationService_CancelMigration_FullMethodName, migrations.CancelMigration)
	return mux
}

// named are methods by their names, with what holds for each.
type named struct {
	*http.ServeMux
	options []connect.HandlerOption
}

// connectOptions hold for each method. Requests are not unpacked: a small one could take much memory.
func connectOptions(o Options) []connect.HandlerOption {
	return []connect.HandlerOption{
		connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage),
		connect.WithCompression("gzip", nil, nil),
		connect.WithCodec(weighedProto{o.Weigh}), connect.WithCodec(weighedJSON{o.WeighJSON}),
	}
}

// weighedProto is protobuf whose messages are weighed before they are decoded.
type weighedProto struct {
	weigh func([]byte, protoreflect.MessageDescriptor) error
}

// Name implements connect.Codec.
func (weighedProto) Name() string { return "proto" }

// Marshal implements connect.Codec.
func (weighedProto) Marshal(v any) ([]byte, error) { return proto.Marshal(v.(proto.Message)) }

// Unmarshal implements connect.Codec.
func (c weighedProto) Unmarshal(b []byte, v any) error {
	m := v.(proto.Message)
	if err := c.weigh(b, m.ProtoReflect().Descriptor()); err != nil {
		return err
	}
	return proto.Unmarshal(b, m)
}

// weighedJSON is the same for JSON.
type weighedJSON struct{ weigh func([]byte) error }

// Name implements connect.Codec.
func (weighedJSON) Name() string { return "json" }

// Marshal implements connect.Codec.
func (weighedJSON) Marshal(v any) ([]byte, error) {
	return messages.MarshalOptions.Marshal(v.(proto.Message))
}

// Unmarshal implements connect.Codec.
func (c weighedJSON) Unmarshal(b []byte, v any) error {
	if err := c.weigh(b); err != nil {
		return err
	}
	return messages.UnmarshalOptions.Unmarshal(b, v.(proto.Message))
}

// call answers a method.
func call[Req, Res any](mux *named, method string, of func(context.Context, *Req, ...grpc.CallOption) (*Res, error)) {
	mux.Handle(method, connect.NewUnaryHandlerSimple(method, func(ctx context.Context, req *Req) (*Res, error) {
		res, err := of(ctx, req)
		return res, connectError(err)
	}, mux.options...))
}

// answers answers a method whose answers are a stream.
func answers[Req, Res any](mux *named, method string, of func(context.Context, *Req, ...grpc.CallOption) (grpc.ServerStreamingClient[Res], error)) {
	mux.Handle(method, connect.NewServerStreamHandlerSimple(method, func(ctx context.Context, req *Req, out *connect.ServerStream[Res]) error {
		stream, err := of(ctx, req)
		if err != nil {
			return connectError(err)
		}
		return pass(stream.Recv, out.Send)
	}, mux.options...))
}

// both answers a method whose requests and answers are streams.
func both[Req, Res any](mux *named, method string, of func(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[Req, Res], error)) {
	mux.Handle(method, connect.NewBidiStreamHandler(method, func(ctx context.Context, out *connect.BidiStream[Req, Res]) error {
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		stream, err := of(ctx)
		if err != nil {
			return connectError(err)
		}
		go func() {
			for {
				req, err := out.Receive()
				if errors.Is(err, io.EOF) {
					err = stream.CloseSend()
				} else if err == nil {
					err = stream.Send(req)
					if err == nil {
						continue
					}
				}
				if err != nil && !errors.Is(err, io.EOF) { // EOF: the stream has ended, and Recv says how
					cancel(err)
				}
				return
			}
		}()
		err = pass(stream.Recv, out.Send)
		if why := context.Cause(ctx); err != nil && why != nil && !errors.Is(why, ctx.Err()) { // what was wrong with a request
			return requestError(why)
		}
		return err
	}, mux.options...))
}

// requestError is why a request of a stream was not read, in the words of who refused it.
func requestError(err error) error {
	var refused interface{ GRPCStatus() *status.Status }
	if errors.As(err, &refused) {
		return connectError(refused.GRPCStatus().Err())
	}
	return err
}

// pass gives a client the answers of a stream until its end.
func pass[Res any](receive func() (*Res, error), send func(*Res) error) error {
	for {
		res, err := receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return connectError(err)
		}
		if err := send(res); err != nil {
			return err
		}
	}
}

// connectErrors writes errors in the protocol of a request.
var connectErrors = connect.NewErrorWriter()

// connectError is a status in the words of Connect, whose codes are the same numbers.
func connectError(err error) error {
	if err == nil {
		return nil
	}
	st := status.Convert(err)
	out := connect.NewError(connect.Code(st.Code()), errors.New(st.Message()))
	for _, detail := range st.Details() {
		if m, ok := detail.(protoadapt.MessageV1); ok {
			if d, err := connect.NewErrorDetail(protoadapt.MessageV2Of(m)); err == nil {
				out.AddDetail(d)
			}
		}
	}
	return out
}
